package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// nodeExample installs the example of api/examples/node, with the drivers beside it, once for the run. The result is the
// folder, or what is missing.
var nodeExample = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	example := filepath.Join(module(), "api", "examples", "node")
	for _, path := range []string{
		filepath.Join(example, "package.json"), filepath.Join(example, "package-lock.json"), filepath.Join(example, "warmpool.js"),
		filepath.Join(example, "send.js"), filepath.Join(example, "session.js"), filepath.Join(example, "stream.js"),
		filepath.Join("testdata", "driver.js"), filepath.Join("testdata", "flows.js"),
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), text, 0o600); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, nil
})

// node is a command that runs a script of the installed example.
func node(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	path := program(t, "node", "nodejs")
	program(t, "npm", "npm")
	dir, err := nodeExample()
	if err != nil {
		unavailable(t, "@grpc/grpc-js cannot be installed: "+err.Error())
	}
	protos, err := filepath.Abs(filepath.Join(module(), "proto"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{filepath.Join(dir, script)}, args...)...)
	cmd.Env = append(os.Environ(), "PROTO_ROOT="+protos)
	return cmd
}

// nodeCaller calls through grpc-js in a process of testdata/driver.js.
type nodeCaller struct {
	process *process

	// Two locks: the driver may not read on before its own output is taken.
	writing sync.Mutex
	in      io.WriteCloser // guarded by writing

	mu    sync.Mutex // guards what follows
	next  uint32
	calls map[uint32]chan<- callOutcome
	lost  error // why no outcome comes any more
}

const (
	frameCall   = 0
	frameCancel = 1

	frameAnswer = 0
	frameError  = 1
)

func openNode(t *testing.T, target string) caller {
	t.Helper()
	cmd := node(t, "driver.js", target)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Not cmd.StdoutPipe, which must not be read while the process is waited for.
	out, outEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = outEnd
	c := &nodeCaller{in: in, calls: make(map[uint32]chan<- callOutcome)}
	c.process = start(t, "node driver.js", cmd)
	if err := outEnd.Close(); err != nil {
		t.Fatal(err)
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		c.receive(bufio.NewReaderSize(out, 64<<10))
		_ = out.Close()
	}()
	t.Cleanup(func() {
		_ = c.in.Close() // the driver ends with its input
		<-received
	})
	return c
}

func (c *nodeCaller) Send(ctx context.Context, r *warmpoolv1.HttpRequest) (*warmpoolv1.HttpResponse, error) {
	payload, err := proto.Marshal(&warmpoolv1.SendRequest{Request: r})
	if err != nil {
		return nil, err
	}
	limit := callLimit
	if deadline, set := ctx.Deadline(); set {
		limit = time.Until(deadline)
	}
	outcome := make(chan callOutcome, 1)
	id, err := c.open(outcome, limit, payload)
	if err != nil {
		return nil, err
	}
	// The driver ends the call at its deadline by itself: only a cancellation is passed on.
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			_ = c.write(id, frameCancel, nil)
		}
	})
	defer stop()
	o := <-outcome
	return o.response, o.err
}

func (c *nodeCaller) open(outcome chan<- callOutcome, limit time.Duration, payload []byte) (uint32, error) {
	c.mu.Lock()
	if c.lost != nil {
		defer c.mu.Unlock()
		return 0, c.lost
	}
	c.next++
	id := c.next
	c.calls[id] = outcome
	c.mu.Unlock()
	return id, c.write(id, frameCall, binary.BigEndian.AppendUint32(nil, uint32(max(0, limit.Milliseconds()))), payload...)
}

func (c *nodeCaller) write(id uint32, kind byte, head []byte, payload ...byte) error {
	frame := make([]byte, 0, 9+len(head)+len(payload))
	frame = binary.BigEndian.AppendUint32(frame, uint32(5+len(head)+len(payload)))
	frame = binary.BigEndian.AppendUint32(frame, id)
	frame = append(frame, kind)
	frame = append(frame, head...)
	frame = append(frame, payload...)
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.in.Write(frame)
	return err
}

// receive hands out outcomes until the driver ends; calls that are open then fail.
func (c *nodeCaller) receive(out io.Reader) {
	err := c.receiveAll(out)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = fmt.Errorf("the driver has ended: %w", err)
	for _, outcome := range c.calls {
		outcome <- callOutcome{err: c.lost}
	}
	clear(c.calls)
}

func (c *nodeCaller) receiveAll(out io.Reader) error {
	for {
		var length [4]byte
		if _, err := io.ReadFull(out, length[:]); err != nil {
			return err
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(out, frame); err != nil {
			return err
		}
		id := binary.BigEndian.Uint32(frame)
		c.mu.Lock()
		outcome := c.calls[id]
		delete(c.calls, id)
		c.mu.Unlock()
		if outcome == nil {
			return fmt.Errorf("an outcome for call %d, which is not open", id)
		}
		if frame[4] == frameAnswer {
			outcome <- nodeAnswer(frame[5:])
		} else {
			outcome <- callOutcome{err: nodeError(frame[5:])}
		}
	}
}

func nodeAnswer(payload []byte) callOutcome {
	var reply warmpoolv1.SendResponse
	if err := proto.Unmarshal(payload, &reply); err != nil {
		return callOutcome{err: err}
	}
	return callOutcome{response: reply.GetResponse()}
}

// nodeError makes the gRPC status that the driver saw, and checks that the example client reads the same failure from it.
func nodeError(payload []byte) error {
	var seen struct {
		Code    codes.Code `json:"code"`
		Message string     `json:"message"`
		Reason  string     `json:"reason"`
		Details string     `json:"details"`
	}
	if err := json.Unmarshal(payload, &seen); err != nil {
		return err
	}
	if seen.Details == "" {
		return status.Error(seen.Code, seen.Message)
	}
	bytes, err := base64.StdEncoding.DecodeString(seen.Details)
	if err != nil {
		return err
	}
	var s statuspb.Status
	if err := proto.Unmarshal(bytes, &s); err != nil {
		return err
	}
	err = status.FromProto(&s).Err()
	if reason := failureIn(err).GetReason().String(); codes.Code(s.GetCode()) != seen.Code || s.GetMessage() != seen.Message || reason != seen.Reason {
		return fmt.Errorf("grpc-js sees %v %q %s, its details say %w with %s", seen.Code, seen.Message, seen.Reason, err, reason)
	}
	return err
}
