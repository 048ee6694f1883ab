package pool_test

import (
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool"
)

func TestACongestionControlThatTheSystemLacksIsSaidWithWhatThereIs(t *testing.T) {
	if err := pool.CheckCongestion("reno"); err != nil { // every Linux has it, and everybody may choose it
		t.Errorf("reno: %v", err)
	}
	err := pool.CheckCongestion("nosuch")
	if err == nil {
		t.Fatal("a congestion control that does not exist is found good")
	}
	for _, want := range []string{`no congestion control "nosuch"`, "net.ipv4.tcp_available_congestion_control", "reno"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestAConnectionHasTheCongestionControlOfItsPolicyOrElseTheSystems(t *testing.T) {
	systems := pool.LookAtKernel().Congestion
	for wanted, want := range map[string]string{"reno": "reno", "nosuch": systems, "": systems} {
		t.Run("wanted="+wanted, func(t *testing.T) {
			s, _ := swallowing(t, false)
			u := open(t, s.URL, func(p *pool.Policy) { p.TCP.Congestion = wanted })
			if _, err := u.Do(t.Context(), &pool.Request{}); err != nil {
				t.Fatal(err)
			}
			for _, c := range u.Connections() {
				if c.TCP.Congestion != want {
					t.Errorf("it has %q, want %q", c.TCP.Congestion, want)
				}
			}
		})
	}
}

func TestWindowsAreKeptBySysctlOrCongestionControl(t *testing.T) {
	for _, c := range []struct {
		kernel pool.Kernel
		of     string
		want   bool
	}{
		{pool.Kernel{}, "", false},
		{pool.Kernel{Known: true, SlowStartAfterIdle: true, Congestion: "cubic"}, "", false},
		{pool.Kernel{Known: true, SlowStartAfterIdle: true, Congestion: "cubic"}, "bbr", true},
		{pool.Kernel{Known: true, SlowStartAfterIdle: true, Congestion: "bbr"}, "", true},
		{pool.Kernel{Known: true, SlowStartAfterIdle: true, Congestion: "bbr"}, "cubic", false},
		{pool.Kernel{Known: true, Congestion: "cubic"}, "", true},
	} {
		if got := c.kernel.KeepsWindows(c.of); got != c.want {
			t.Errorf("%+v, %q: %v, want %v", c.kernel, c.of, got, c.want)
		}
	}
}
