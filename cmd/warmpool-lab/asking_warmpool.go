package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// viaSidecar asks warmpool over its Unix socket: small bodies by Session, larger
// ones by Send, the largest by Stream.
type viaSidecar struct {
	conn    *grpc.ClientConn
	client  warmpoolv1.HttpServiceClient
	turns   *grpc.ClientConn // to control
	control warmpoolv1.PoolServiceClient
	session warmpoolv1.HttpService_SessionClient
	mu      struct {
		sync.Mutex // held while the session is written to

		next   uint64
		open   map[uint64]chan *warmpoolv1.SessionReply
		failed error // the session has ended
	}
}

const (
	sessionLimit = 16 << 10 // bytes of a body up to which Session is used
	sendLimit    = 512 << 10
	streamPart   = 64 << 10
)

func newViaSidecar(socket string) (*viaSidecar, error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A sidecar that was started just now may not listen yet.
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		return nil, err
	}
	turns, err := grpc.NewClient("unix:"+controlOf(socket), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	v := &viaSidecar{
		conn: conn, client: warmpoolv1.NewHttpServiceClient(conn),
		turns: turns, control: warmpoolv1.NewPoolServiceClient(turns),
	}
	v.mu.open = make(map[uint64]chan *warmpoolv1.SessionReply)
	if v.session, err = v.client.Session(context.Background()); err != nil {
		return nil, errors.Join(err, v.close())
	}
	go v.receive()
	return v, nil
}

func (v *viaSidecar) close() error { return errors.Join(v.conn.Close(), v.turns.Close()) }

func (v *viaSidecar) receive() {
	for {
		m, err := v.session.Recv()
		v.mu.Lock()
		if err != nil {
			v.mu.failed = err
			for _, c := range v.mu.open {
				close(c)
			}
			clear(v.mu.open)
			v.mu.Unlock()
			return
		}
		for _, r := range m.GetReplies() {
			v.mu.open[r.GetId()] <- r // has room for one
			delete(v.mu.open, r.GetId())
		}
		v.mu.Unlock()
	}
}

// call opens calls on the session, all in one message, and returns where the
// replies come.
func (v *viaSidecar) call(requests ...*warmpoolv1.HttpRequest) ([]chan *warmpoolv1.SessionReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mu.failed != nil {
		return nil, fmt.Errorf("session: %w", v.mu.failed)
	}
	message := &warmpoolv1.SessionRequest{}
	replies := make([]chan *warmpoolv1.SessionReply, len(requests))
	for i, r := range requests {
		v.mu.next++
		replies[i] = make(chan *warmpoolv1.SessionReply, 1)
		v.mu.open[v.mu.next] = replies[i]
		message.Calls = append(message.Calls, &warmpoolv1.SessionCall{Id: v.mu.next, Call: &warmpoolv1.SessionCall_Request{Request: r}})
	}
	return replies, v.session.Send(message)
}

func (v *viaSidecar) request(s Slot, r request) *warmpoolv1.HttpRequest {
	q := &warmpoolv1.HttpRequest{
		Upstream: s.Name(), Method: r.method(), Path: r.path(), Body: r.body(),
		Options: &warmpoolv1.RequestOptions{Receipt: true},
	}
	if r.id != "" {
		q.Headers = append(q.Headers, &warmpoolv1.Header{Name: idHeader, Value: r.id})
	}
	if r.close {
		q.Headers = append(q.Headers, &warmpoolv1.Header{Name: "Connection", Value: "close"})
	}
	return q
}

func (v *viaSidecar) ask(ctx context.Context, s Slot, r request) (*warmpoolv1.Receipt, error) {
	switch {
	case r.size <= sessionLimit:
		receipts, err := v.askTogether(ctx, s, r, 1)
		if len(receipts) == 0 {
			return nil, err
		}
		return receipts[0], err
	case r.size <= sendLimit:
		answer, err := v.client.Send(ctx, &warmpoolv1.SendRequest{Request: v.request(s, r)})
		if err != nil {
			return nil, err
		}
		response := answer.GetResponse()
		return response.GetReceipt(), r.check(int(response.GetStatus()), len(response.GetBody()))
	default:
		return v.askStream(ctx, s, r)
	}
}

// askTogether asks n times at once, in one message of the session.
func (v *viaSidecar) askTogether(ctx context.Context, s Slot, r request, n int) (receipts []*warmpoolv1.Receipt, err error) {
	requests := make([]*warmpoolv1.HttpRequest, n)
	for i := range requests {
		requests[i] = v.request(s, r)
	}
	replies, err := v.call(requests...)
	if err != nil {
		return nil, err
	}
	for _, c := range replies {
		select {
		case reply := <-c:
			response, failure := reply.GetResponse(), reply.GetFailure()
			switch {
			case failure != nil:
				err = errors.Join(err, errors.New(failure.GetMessage()))
				receipts = append(receipts, failure.GetReceipt())
			case response != nil:
				err = errors.Join(err, r.check(int(response.GetStatus()), len(response.GetBody())))
				receipts = append(receipts, response.GetReceipt())
			default:
				return receipts, errors.New("the session ended")
			}
		case <-ctx.Done():
			return receipts, ctx.Err()
		}
	}
	return receipts, err
}

func (v *viaSidecar) askStream(ctx context.Context, s Slot, r request) (*warmpoolv1.Receipt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := v.client.Stream(ctx)
	if err != nil {
		return nil, err
	}
	head, body := v.request(s, r), r.body()
	head.Body = nil
	if r.up {
		first := min(len(body), streamPart)
		head.Body, body = body[:first], body[first:]
		head.Headers = append(head.Headers, &warmpoolv1.Header{Name: "Content-Length", Value: strconv.Itoa(r.size)})
	}
	if err := stream.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Head{Head: head}, End: len(body) == 0 || !r.up}); err != nil {
		return nil, streamError(stream, err)
	}
	for len(body) > 0 {
		n := min(len(body), streamPart)
		err := stream.Send(&warmpoolv1.StreamRequest{Part: &warmpoolv1.StreamRequest_Data{Data: body[:n]}, End: n == len(body)})
		if err != nil {
			return nil, streamError(stream, err)
		}
		body = body[n:]
	}
	var status, length int
	for {
		part, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		switch p := part.GetPart().(type) {
		case *warmpoolv1.StreamResponse_Head:
			status = int(p.Head.GetStatus())
		case *warmpoolv1.StreamResponse_Data:
			length += len(p.Data)
		case *warmpoolv1.StreamResponse_End:
			return p.End.GetReceipt(), r.check(status, length)
		}
	}
}

// streamError is why a stream ended that can no longer be written to.
func streamError(stream warmpoolv1.HttpService_StreamClient, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}
