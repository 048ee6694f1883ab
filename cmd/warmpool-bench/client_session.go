package main

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

type sessionAsker struct {
	stream warmpoolv1.HttpService_SessionClient
	mu     sync.Mutex
	next   uint64
	wait   map[uint64]chan *warmpoolv1.SessionReply
	out    []*warmpoolv1.SessionCall
	busy   bool
	wake   chan struct{}
}

func sessionExchange(t target) (exchange, error) {
	address := t.address
	if t.network == "unix" {
		address = "unix:" + t.address
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		return nil, err
	}
	stream, err := warmpoolv1.NewHttpServiceClient(conn).Session(context.Background())
	if err != nil {
		return nil, err
	}
	a := &sessionAsker{stream: stream, wait: make(map[uint64]chan *warmpoolv1.SessionReply), wake: make(chan struct{}, 1)}
	go a.receive()
	go a.send()
	return func(ctx context.Context) (status, length int, err error) {
		reply := make(chan *warmpoolv1.SessionReply, 1)
		a.mu.Lock()
		a.next++
		a.wait[a.next] = reply
		a.out = append(a.out, &warmpoolv1.SessionCall{Id: a.next, Call: &warmpoolv1.SessionCall_Request{Request: &warmpoolv1.HttpRequest{
			Upstream: upstreamName, Method: "GET", Path: t.path,
			Headers: []*warmpoolv1.Header{{Name: "User-Agent", Value: userAgent}},
		}}})
		if !a.busy {
			a.busy = true
			a.wake <- struct{}{}
		}
		a.mu.Unlock()
		select {
		case r := <-reply:
			if f := r.GetFailure(); f != nil {
				return 0, 0, errors.New(f.GetMessage())
			}
			return int(r.GetResponse().GetStatus()), len(r.GetResponse().GetBody()), nil
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}, nil
}

func (a *sessionAsker) send() {
	for range a.wake {
		runtime.Gosched()
		for {
			a.mu.Lock()
			out := a.out
			a.out = nil
			if len(out) == 0 {
				a.busy = false
				a.mu.Unlock()
				break
			}
			a.mu.Unlock()
			if err := a.stream.Send(&warmpoolv1.SessionRequest{Calls: out}); err != nil {
				return
			}
		}
	}
}

func (a *sessionAsker) receive() {
	for {
		m, err := a.stream.Recv()
		if err != nil {
			return
		}
		for _, r := range m.GetReplies() {
			a.mu.Lock()
			c := a.wait[r.GetId()]
			delete(a.wait, r.GetId())
			a.mu.Unlock()
			c <- r
		}
	}
}
