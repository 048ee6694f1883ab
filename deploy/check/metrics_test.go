package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// exported are the series that a sidecar at work exports: names with the labels that each has.
type exported map[string]map[string]bool

// scraped starts a sidecar, has everything happen to it that is counted, and scrapes it, for the first time.
func scraped(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "warmpool")
	build := exec.Command("go", "build", "-o", binary, "./cmd/warmpool")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var requests atomic.Int32
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/lost" && requests.Add(1) == 1 { // the connection ends without an answer, once
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = conn.Close()
			}
			return
		}
		if r.URL.Path == "/slow" {
			time.Sleep(50 * time.Millisecond)
		}
	}))
	t.Cleanup(upstream.Close)
	_, port, _ := net.SplitHostPort(upstream.Listener.Addr().String())
	dir, err := os.MkdirTemp("", "wp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	admin := freeAddress(t)
	config := fmt.Sprintf("listen: ['unix://%[1]s/d.sock']\ncontrol: ['unix://%[1]s/c.sock']\nadmin: %[2]q\nupstreams:\n"+
		"  - {name: web, url: 'http://localhost:%[3]s', connections: {max: 1}}\n"+
		"  - {name: nobody, url: 'http://%[4]s', queue: {max_wait: 100ms}}\n", dir, admin, port, freeAddress(t))
	file := filepath.Join(dir, "warmpool.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(binary, "serve", "-c", file)
	var log bytes.Buffer
	serve.Stderr = &log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Signal(syscall.SIGTERM)
		_ = serve.Wait()
		if t.Failed() {
			t.Logf("the sidecar's log:\n%s", &log)
		}
	})
	socket := "unix://" + dir + "/d.sock"
	if out, err := exec.Command(binary, "wait", "-s", socket, "--timeout", "30s").CombinedOutput(); err != nil {
		t.Fatalf("wait: %v\n%s", err, out)
	}
	send := func(upstream, path string) *exec.Cmd {
		return exec.Command(binary, "send", upstream, path, "-s", socket)
	}
	for _, c := range [][2]string{{"web", "/"}, {"web", "/lost"}, {"web", "/"}, {"nobody", "/"}} {
		out, err := send(c[0], c[1]).CombinedOutput()
		if (err != nil) != (c[0] == "nobody") {
			t.Fatalf("send %v: %v\n%s", c, err, out)
		}
	}
	slow := []*exec.Cmd{send("web", "/slow"), send("web", "/slow"), send("web", "/slow")} // of three at once on one connection two wait
	for _, c := range slow {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range slow {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte(config+"surprise: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "reload", "-s", "unix://"+dir+"/c.sock").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("surprise")) {
		t.Fatalf("a file with a mistake: %v\n%s", err, out)
	}
	response, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	textParser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := textParser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// exportedBy takes the series out of what was scraped.
func exportedBy(families map[string]*dto.MetricFamily) exported {
	all := make(exported)
	for name, family := range families {
		has := make(map[string]bool)
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				has[l.GetName()] = true
			}
		}
		all[name] = has
		if family.GetType().String() == "HISTOGRAM" {
			bucket := maps.Clone(has)
			bucket["le"] = true
			all[name+"_bucket"], all[name+"_sum"], all[name+"_count"] = bucket, has, has
		}
	}
	return all
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// attached are the labels that Prometheus adds to what it scrapes in Kubernetes.
var attached = []string{"namespace", "pod", "job", "instance"}

// check reports what an expression asks for and no sidecar exports.
func (all exported) check(t *testing.T, where, expression string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, expression)
		return
	}
	known := make(map[string]bool) // labels of any of the expression's metrics
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		has, ok := all[selector.Name]
		if !ok {
			t.Errorf("%s: nothing exports %s", where, selector.Name)
			return nil
		}
		maps.Copy(known, has)
		for _, m := range selector.LabelMatchers {
			if m.Name != labels.MetricName && !has[m.Name] && !slices.Contains(attached, m.Name) {
				t.Errorf("%s: %s has no label %s", where, selector.Name, m.Name)
			}
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		var by []string
		switch n := node.(type) {
		case *parser.AggregateExpr:
			by = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				by = n.VectorMatching.MatchingLabels
			}
		}
		for _, label := range by {
			if !known[label] && !slices.Contains(attached, label) {
				t.Errorf("%s: grouped or matched by %s, which none of its metrics has", where, label)
			}
		}
		return nil
	})
}

func TestDashboardAndAlertsAskForWhatIsExported(t *testing.T) {
	families := scraped(t)
	all := exportedBy(families)

	text, err := os.ReadFile("../grafana/warmpool.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries, refusals := 0, 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries++
			all.check(t, "panel "+p.Title, grafana.ReplaceAllString(target.Expr, "1m"))
		}
	}
	for _, v := range dashboard.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			selector, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprint(q["query"]), "label_values("), ", "+v.Name)
			all.check(t, "variable "+v.Name, strings.TrimSuffix(selector, ", warmpool_upstream)"))
		}
	}

	if text, err = os.ReadFile("../prometheus/alerts.yaml"); err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			queries++
			all.check(t, "alert "+r.Alert, r.Expr)
			if r.Alert == "WarmpoolConfigRefused" {
				refusals++
				if !holds(t, families, r.Expr) {
					t.Errorf("a file was refused before anybody scraped, and alert %s says nothing: %s", r.Alert, r.Expr)
				}
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("alert %s does not say what it is and what to do", r.Alert)
			}
		}
	}
	if refusals != 1 {
		t.Errorf("%d alerts tell of a refused file", refusals)
	}
	if queries < 25 {
		t.Errorf("%d queries were checked", queries)
	}
	for _, wrong := range []string{
		`warmpool_invented_total`, `sum by (nothing) (warmpool_sessions)`, `warmpool_responses_total{nothing="x"}`,
		`warmpool_sessions and on (nothing) warmpool_sessions`,
	} {
		probe := new(testing.T)
		all.check(probe, "a probe", wrong)
		if !probe.Failed() {
			t.Errorf("the check finds nothing wrong with %s", wrong)
		}
	}
}

// holds reports whether an alert's expression, a metric above a number, is true of one scrape. One that looks at what came
// before is not: a first scrape has nothing before it.
func holds(t *testing.T, families map[string]*dto.MetricFamily, expression string) bool {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		t.Fatal(err)
	}
	compared, ok := parsed.(*parser.BinaryExpr)
	if !ok || compared.Op != parser.GTR {
		return false
	}
	metric, isMetric := compared.LHS.(*parser.VectorSelector)
	limit, isNumber := compared.RHS.(*parser.NumberLiteral)
	if !isMetric || !isNumber || len(metric.LabelMatchers) != 1 { // the one is the name
		return false
	}
	return slices.ContainsFunc(families[metric.Name].GetMetric(), func(m *dto.Metric) bool {
		return m.GetGauge().GetValue()+m.GetCounter().GetValue() > limit.Val
	})
}

// grafana is the interval that Grafana fills in.
var grafana = regexp.MustCompile(`\$__rate_interval`)
