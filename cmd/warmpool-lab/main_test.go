package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warmpool-dev/warmpool/cmd/internal/command"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
	"github.com/warmpool-dev/warmpool/cmd/warmpool-lab/link"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

var plans = map[string]Plan{"full": fullPlan(), "quick": quickPlan()}

func TestWrongCommandLinesAreRefusedWithWhatIsAllowed(t *testing.T) {
	for args, want := range map[string]string{
		"-oneway 0s":         "must be above 0s and at most 1s",
		"-oneway 2s":         "must be above 0s and at most 1s",
		"-rate -1":           "must not be negative",
		"-queue 1000":        "no meaning without -rate",
		"-only light,lights": `no part "lights"; there are new, light, heavy, objects, posts, uploads`,
		"fast":               `unexpected argument "fast"`,
		"-fast":              "see -help",
	} {
		_, err := parseOptions(strings.Fields(args), io.Discard)
		if _, ok := errors.AsType[*command.UsageError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a usage error with %q", args, err, want)
		}
	}
}

func TestPartsAreMeasuredInTheOrderAskedFor(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-only", "posts,new", "-rate", "1000000", "-queue", "3000"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.only, []Section{PostRound, New}) || !o.plan.Quick {
		t.Errorf("parts %v of plan %+v", o.only, o.plan)
	}
	if want := (link.Setting{OneWay: 25 * time.Millisecond, Rate: 1_000_000, Queue: 3000}); o.setting != want {
		t.Errorf("link %+v, want %+v", o.setting, want)
	}
}

func TestNoTwoSamplesShareASlotWhileTheyIdle(t *testing.T) {
	for name, plan := range plans {
		c := caller{CallerSetup: CallerSetup{Plan: plan}, light: make(chan struct{}), heavy: make(chan struct{})}
		c.ways = map[Way]asker{Warmpool: &viaSidecar{}}
		known := make(map[Slot]bool)
		for _, s := range plan.idling() {
			if known[s] {
				t.Errorf("%s: slot %s is there twice", name, s.Name())
			}
			known[s] = true
		}
		for _, idle := range plan.Idles {
			for kind, samples := range map[string][]sample{"light": c.lightSamples(idle), "heavy": c.heavySamples(idle)} {
				taken := make(map[Slot]bool)
				for _, s := range samples {
					if taken[s.slot] {
						t.Errorf("%s, %s, idle %s: slot %s is taken twice", name, kind, idle, s.slot.Name())
					}
					if !known[s.slot] {
						t.Errorf("%s, %s, idle %s: slot %s is in no configuration", name, kind, idle, s.slot.Name())
					}
					taken[s.slot] = true
				}
				if len(samples) == 0 {
					t.Errorf("%s, %s: nothing is measured after %s", name, kind, idle)
				}
			}
		}
	}
}

func TestIntermediariesTakeTheirConfigurations(t *testing.T) {
	for name, plan := range plans {
		t.Run(name, func(t *testing.T) {
			l := &lab{plan: plan, dir: t.TempDir()}
			var err error
			if l.cert, l.key, err = writeIdentity(l.dir); err != nil {
				t.Fatal(err)
			}
			write := func(name string, text []byte) string {
				file := filepath.Join(l.dir, name)
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
				return file
			}
			socket := "/tmp/lab.sock"
			slots := slices.Concat(plan.idling(), plan.posting())
			for kind, slots := range map[string][]Slot{
				"idling": plan.idling(), "posting": plan.posting(), "no floor": plan.postingFirst(PostNoFloor),
				"nothing seen": plan.postingFirst(PostFirst), "kept": plan.keeping(Kept), "left": plan.keeping(Left),
				"ahead": plan.loading(Ahead), "asked": plan.loading(Asked),
				"choosing": plan.choosing(), "fetching": plan.fetching(),
			} {
				loaded, err := config.Load(config.Source{File: write("warmpool.yaml", l.warmpoolConfig(socket, slots))})
				if err != nil {
					t.Fatalf("warmpool, %s: %v", kind, err)
				}
				if n := len(loaded.Config.GetUpstreams()); n != len(slots) || n == 0 {
					t.Errorf("warmpool, %s: %d upstreams for %d slots", kind, n, len(slots))
				}
			}
			if haproxy := program.Find("haproxy"); haproxy != "" {
				if out, err := exec.Command(haproxy, "-c", "-f", write("haproxy", l.haproxyConfig(socket, slots))).CombinedOutput(); err != nil {
					t.Errorf("HAProxy: %v\n%s", err, out)
				}
			}
			if nginx := program.Find("nginx"); nginx != "" && os.Geteuid() == 0 {
				if out, err := exec.Command(nginx, "-t", "-e", "stderr", "-c", write("nginx", l.nginxConfig(l.dir, socket, slots))).CombinedOutput(); err != nil {
					t.Errorf("nginx: %v\n%s", err, out)
				}
			}
		})
	}
}

// report is one in which all that is aimed at has been reached, just so.
func report() *Report {
	r := &Report{Plan: fullPlan(), RTT: 50 * time.Millisecond, Link: link.Setting{OneWay: 25 * time.Millisecond}}
	rtt := func(f float64) time.Duration { return time.Duration(f * float64(r.RTT)) }
	for _, o := range r.Plan.origins() {
		for _, idle := range r.Plan.Idles {
			for _, w := range pooled {
				took := []time.Duration{rtt(1.2), rtt(1.04), rtt(1.03)}
				for range 300 {
					took = append(took, rtt(1.05))
				}
				r.add([]Measured{
					{Cell: Cell{w, o, Shape{1000, false, 1}, idle}, Took: took, Requests: 2 * len(took)},
					{Cell: Cell{w, o, Shape{1000, false, 32}, idle}, Took: []time.Duration{rtt(1.3)}, Requests: 64},
				})
			}
		}
	}
	for _, f := range fetchings {
		for range 3 {
			r.Fetched = append(r.Fetched, ObjectsTook{Way: f.name, Took: rtt(1.2)})
		}
	}
	r.Posts = []PostsFigures{
		{Way: NetHTTP, Kind: Post, Sent: 600, Failed: 200, First: "EOF", Earliest: -25 * time.Millisecond, Latest: 24 * time.Millisecond},
		{Way: Warmpool, Kind: Post, Sent: 600, Took: []time.Duration{rtt(1)}},
		{Way: Warmpool, Kind: PostNoFloor, Sent: 600, Took: []time.Duration{rtt(3)}},
	}
	r.Uploads = []UploadFigures{{SlowStartAfterIdle: true, Took: []time.Duration{rtt(3.2)}, Wide: 1}, {Took: []time.Duration{rtt(1.2)}, Wide: 1}}
	r.Keeping = []KeepingFigures{{Took: []time.Duration{rtt(7.1)}}, {Kept: true, Took: []time.Duration{rtt(1.1)}, Requests: 13}}
	r.Loaded = []LoadedFigures{{Took: []time.Duration{rtt(1.4)}, Dialed: 3}, {Took: []time.Duration{rtt(1.6)}, Dialed: 4}, {Ahead: true, Took: []time.Duration{rtt(1.2)}, Dialed: 9}}
	return r
}

func TestWhatIsAimedAtIsReachedAtItsLimit(t *testing.T) {
	r := report()
	r.conclude()
	if len(r.Targets) != 6 {
		t.Errorf("%d targets, want 6", len(r.Targets))
	}
	for _, target := range r.Targets {
		if !target.Reached {
			t.Errorf("missed: %+v", target)
		}
	}
	if n := r.failures(); n != 0 {
		t.Errorf("%d failures; those of others are not warmpool's", n)
	}
	r.Posts[2].Failed, r.Keeping[0].Failures, r.Loaded[0].Failures = 1, 1, 1
	if n := r.failures(); n != 3 {
		t.Errorf("%d failures, want those of the POSTs without a floor of the downloads on kept windows and of the requests under load", n)
	}
}

func TestEachTargetIsMissedByItsOwnCause(t *testing.T) {
	patient := Origin{false, 60 * time.Second}
	for i, spoil := range []func(*Report){
		func(r *Report) {
			r.samples(Cell{Warmpool, patient, Shape{1000, false, 1}, time.Second}).Took = []time.Duration{53 * time.Millisecond}
		},
		func(r *Report) {
			r.samples(Cell{Warmpool, patient, Shape{1000, false, 32}, 70 * time.Second}).Handshakes = 1
		},
		func(r *Report) { r.Posts[1].Failed = 1 },
		func(r *Report) { r.Uploads[0].Took[0]++ },
		func(r *Report) { r.Uploads[1].Took[0]++ },
		func(r *Report) {
			for i := range r.Fetched {
				r.Fetched[i].Took++
			}
		},
	} {
		r := report()
		spoil(r)
		r.conclude()
		for j, target := range r.Targets {
			if target.Reached != (i != j) {
				t.Errorf("spoiling %d: target %d, %q, reached: %v (%s)", i, j, target.What, target.Reached, target.Shown)
			}
		}
	}
}

func TestReportSaysWhatFailedAndWhatIsMissing(t *testing.T) {
	r := report()
	r.Missing = map[Way]string{Nginx: "not installed: nginx"}
	r.samples(Cell{HAProxy, Origin{true, 5 * time.Second}, Shape{1000, false, 1}, time.Second}).Failures = 2
	r.samples(Cell{HAProxy, Origin{true, 5 * time.Second}, Shape{1000, false, 1}, time.Second}).First = "EOF"
	r.conclude()
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		" nginx: not installed: nginx ",
		"HAProxy, 1 KB down, TLS, closes after 5 s, down, idle 1 s: 2 failed, the first: EOF",
		" net/http 600 200 -25 to +24 ms 0 ",
		" warmpool, no floor, has seen none 600 0 ",
		" plain, dialed when a request asks (preconnect: 1) 1.40 1.60 1.60 2 7 ",
		" kept open on request (warm --upkeep) 1.10 (1.10) 1 13 ",
		"32 requests at once, 1 KB down each, to the last answer, after idleness of",
		" reached 40 objects pipelined on a warm connection, plain",
	} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

func TestChartIsWellFormedWithWhateverWasMeasured(t *testing.T) {
	for name, r := range map[string]*Report{"all": report(), "nothing": {Plan: fullPlan(), RTT: 50 * time.Millisecond}} {
		r.conclude()
		var b bytes.Buffer
		if err := r.draw(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "%!") || strings.Contains(b.String(), "NaN") {
			t.Errorf("%s: wrong figures in the chart:\n%s", name, b.String())
		}
		dots := 0
		for d := xml.NewDecoder(&b); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
				dots++
			}
		}
		want := len(chartWays)
		if name == "all" {
			want += 2 * len(pooled) * len(r.Plan.Idles)
		}
		if dots != want {
			t.Errorf("%s: %d dots, want %d", name, dots, want)
		}
	}
}

func TestSizesAreSaidAsPeopleSayThem(t *testing.T) {
	for n, want := range map[int]string{1: "1 B", 1000: "1 KB", 1500: "1500 B", 10_000: "10 KB", 1_000_000: "1 MB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestQuantilesOfFewAreTheirExtremes(t *testing.T) {
	few := []time.Duration{1, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 2, 0.99: 3, 1: 3} {
		if got := quantile(few, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("quantile of nothing is not 0")
	}
}

func TestPartsOfAnEarlierRunAreKeptButForThoseMeasuredAnew(t *testing.T) {
	r := report()
	r.add([]Measured{{Cell: Cell{Way: NewConnection, Shape: Shape{1000, false, 1}}, Took: []time.Duration{1}}})
	for _, s := range sections {
		r.Parts = append(r.Parts, Part{Section: s})
	}
	r.conclude()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "lab.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := options{plan: r.Plan, setting: r.Link, keep: file}.kept()
	if err != nil {
		t.Fatal(err)
	}
	kept.drop([]Section{LightRound, PostRound, UploadRound, KeptRound, LoadRound})
	kept.conclude()
	if len(kept.Parts) != 3 || kept.Posts != nil || kept.Uploads != nil || kept.Keeping != nil || kept.Loaded != nil || !reflect.DeepEqual(kept.Objects, r.Objects) {
		t.Errorf("kept parts %v, posts %v, uploads %v, objects %v", kept.Parts, kept.Posts, kept.Uploads, kept.Objects)
	}
	for _, c := range r.Cells {
		i := slices.IndexFunc(kept.Cells, func(k CellReport) bool { return k == c })
		light := c.Shape.Burst == 1 && c.Way != NewConnection
		if light != (i < 0) {
			t.Errorf("%s, %s, %s: index %d of what was kept", c.Way, c.Shape, c.Cell, i)
		}
	}

	other := options{plan: quickPlan(), setting: r.Link, keep: file}
	if _, err := other.kept(); err == nil || !strings.Contains(err.Error(), "another plan") {
		t.Errorf("a report of another plan: %v", err)
	}
}
