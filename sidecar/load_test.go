package sidecar_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// asLoad is the variable that makes the test binary a process that sends requests
// and is the upstream that answers them.
const asLoad = "RUN_AS_LOAD"

// together is how many exchanges are under way at once.
const together = 64

// loadMain carries out orders, a line each, until its input ends: "use TARGET",
// "session N" and "send N". It says its origin's address first.
func loadMain(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 128))
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	fmt.Fprintln(out, l.Addr())

	var client warmpoolv1.HttpServiceClient
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var word, target string
		var n int
		var err error
		if _, err = fmt.Sscan(lines.Text(), &word, &target); err == nil && word != "use" {
			_, err = fmt.Sscan(target, &n)
		}
		switch {
		case err != nil:
		case word == "use":
			var cc *grpc.ClientConn
			if cc, err = grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials())); err == nil {
				defer cc.Close()
				client = warmpoolv1.NewHttpServiceClient(cc)
			}
		case word == "session":
			err = sessionLoad(client, n)
		case word == "send":
			err = sendLoad(client, n)
		}
		if err != nil {
			fmt.Fprintln(out, err)
			continue
		}
		fmt.Fprintln(out, "done")
	}
	return nil
}

func smallRequest() *warmpoolv1.HttpRequest {
	return &warmpoolv1.HttpRequest{Upstream: "web", Path: "/small", Headers: []*warmpoolv1.Header{{Name: "User-Agent", Value: "load"}}}
}

// sessionLoad sends n requests on one session, in messages of as many as may be
// under way.
func sessionLoad(client warmpoolv1.HttpServiceClient, n int) error {
	s, err := client.Session(context.Background())
	if err != nil {
		return err
	}
	for sent := 0; sent < n; sent += together {
		batch := make([]*warmpoolv1.SessionCall, together)
		for i := range batch {
			batch[i] = call(uint64(i), smallRequest())
		}
		if err := s.Send(&warmpoolv1.SessionRequest{Calls: batch}); err != nil {
			return err
		}
		for left := together; left > 0; {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			for _, r := range m.GetReplies() {
				if r.GetResponse().GetStatus() != http.StatusOK {
					return fmt.Errorf("got %v", r)
				}
				left--
			}
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last reply: %w", err)
	}
	return nil
}

func sendLoad(client warmpoolv1.HttpServiceClient, n int) error {
	var callers sync.WaitGroup
	failed := make(chan error, together)
	for range together {
		callers.Go(func() {
			for range n / together {
				answer, err := client.Send(context.Background(), &warmpoolv1.SendRequest{Request: smallRequest()})
				if err == nil && answer.GetResponse().GetStatus() != http.StatusOK {
					err = fmt.Errorf("got %v", answer)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	callers.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// runLoad makes the process a load, if it was started as one.
func runLoad() {
	if os.Getenv(asLoad) == "" {
		return
	}
	if err := loadMain(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
