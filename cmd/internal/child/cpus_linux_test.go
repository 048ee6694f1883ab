package child_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
)

func TestAChildRunsOnTheCPUsItIsGiven(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := child.CPUs()
	if len(own) == 0 {
		t.Fatal("this process may run on no CPU")
	}
	last := own[len(own)-1]
	p, err := child.Start(t.Context(), child.Command{Name: "sleeper", Path: "/bin/sleep", Args: []string{"60"}, CPUs: []int{last}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "Cpus_allowed_list:\t" + strconv.Itoa(last) + "\n"; !strings.Contains(string(status), want) {
		t.Errorf("its status has no line %q:\n%s", want, status)
	}
	if now := child.CPUs(); !slices.Equal(now, own) {
		t.Errorf("this thread may run on CPUs %d now, before on %d", now, own)
	}
}

func TestACPUThatIsNotThereIsAnError(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := child.Start(t.Context(), child.Command{Name: "sleeper", Path: "/bin/sleep", Args: []string{"60"}, CPUs: []int{1000}})
	if err == nil {
		p.Close()
		t.Fatal("started")
	}
	if !strings.Contains(err.Error(), "sleeper: sched_setaffinity to CPUs [1000]") {
		t.Error(err)
	}
}
