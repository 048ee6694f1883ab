package e2e

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

var (
	slowMiB  = flag.Int("slow-mib", 64, "MiB of the response that a slow reader takes")
	slowRate = flag.Int("slow-rate", 64, "MiB that the slow reader takes in a second")
)

// peakResident is the most memory that a process has had (VmHWM), in bytes.
func peakResident(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no VmHWM in\n%s", text)
	return 0
}

// A reader that is slower than the upstream slows the upstream down: what is on the way stays small, however long the
// response is. make soak plays it with 1 GiB at 10 MiB/s.
func TestALongResponseToASlowReaderTakesLittleMemory(t *testing.T) {
	limit := int64(64 << 20)
	if raceEnabled {
		limit *= 8 // the detector's own memory is several times what it watches
	}
	total := int64(*slowMiB) << 20
	app := serveApp(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for left := total; left > 0; left -= int64(len(piece)) {
			if _, err := w.Write(piece); err != nil {
				t.Error(err)
				return
			}
		}
	}), nil)
	s := startSidecar(t, idleConfig, app.addr)
	stream, err := warmpoolv1.NewHttpServiceClient(dialTarget(t, s.unix)).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&warmpoolv1.StreamRequest{
		Part: &warmpoolv1.StreamRequest_Head{Head: &warmpoolv1.HttpRequest{Upstream: "nginx"}}, End: true,
	}); err != nil {
		t.Fatal(err)
	}
	read, began := int64(0), time.Now()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		read += int64(len(m.GetData()))
		due := time.Duration(float64(read) / float64(*slowRate<<20) * float64(time.Second))
		time.Sleep(due - time.Since(began)) // what makes it slow
	}
	peak := peakResident(t, s.process.cmd.Process.Pid)
	t.Logf("%d MiB in %.1f s; the sidecar's memory was at most %.1f MiB", read>>20, time.Since(began).Seconds(), float64(peak)/(1<<20))
	if read != total || peak > limit {
		t.Errorf("read %d of %d bytes, with at most %d bytes of memory; it may take %d", read, total, peak, limit)
	}
}
