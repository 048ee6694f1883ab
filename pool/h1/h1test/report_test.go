package h1test_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/warmpool-dev/warmpool/pool/h1/h1test"
)

func TestReportCountsByGroupAndStrictnessAndListsTheRest(t *testing.T) {
	r := h1test.Report{Results: []h1test.Result{
		{Name: "a", Group: "z-group", Strictness: h1test.Must},
		{Name: "b", Group: "z-group", Strictness: h1test.Must, Verdict: h1test.Fail, Reason: "because"},
		{Name: "c", Group: "a-group", Strictness: h1test.Either, Verdict: h1test.Skip, Reason: "no tunnel"},
		{Name: "d", Group: "a-group", Strictness: h1test.Should, Verdict: h1test.Deviation, Reason: "close"},
	}}
	const want = `    group  strictness  pass  deviation  fail  skip
  a-group      should     0          1     0     0
  a-group      either     0          0     0     1
  z-group        must     1          0     1     0
      all                 1          1     1     1

fail: 1
  z-group/b  must  because

deviation: 1
  a-group/d  should  close

skip: 1
  a-group/c  either  no tunnel
`
	if got := r.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if r.Count(h1test.Fail, h1test.Must) != 1 || r.Count(h1test.Fail, h1test.Should) != 0 || r.Count(h1test.Skip, "") != 1 {
		t.Error("counts are wrong")
	}
}

func TestRunAllReturnsEveryResult(t *testing.T) {
	cases := []h1test.Case{caseNamed(t, "interim-102"), caseNamed(t, "upgrade-101"), caseNamed(t, "retry-keeps-request-bytes")}
	report := h1test.RunAll(t, cases, naiveFeatures, newNaive(habits{}), h1test.Options{
		Parallel: 2, Strict: true,
		Known: map[string]string{"retry-keeps-request-bytes": "the client repeats nothing"},
	})
	if report.Count(h1test.Pass, "") != 1 || report.Count(h1test.Skip, "") != 1 || report.Count(h1test.Deviation, h1test.Should) != 1 {
		t.Error(report)
	}
}

// runAllEnv makes TestRunAllOfABadClient do what its name says, in a process of
// its own: its failures are what TestRunAllFailsTheTest looks for.
const runAllEnv = "H1TEST_RUN_ALL_OF_A_BAD_CLIENT"

func TestRunAllOfABadClient(t *testing.T) {
	if os.Getenv(runAllEnv) == "" {
		return
	}
	cases := []h1test.Case{caseNamed(t, "persist-10-default"), caseNamed(t, "hint-timeout-60"), caseNamed(t, "trailer-one"), caseNamed(t, "retry-keeps-request-bytes")}
	h1test.RunAll(t, cases, naiveFeatures, newNaive(habits{keepsClosing: true}), h1test.Options{
		Strict: true,
		Known:  map[string]string{"hint-timeout-60": "outdated", "persist-10-default": "not to be excused"},
	})
}

func TestRunAllFailsTheTest(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRunAllOfABadClient$", "-test.v")
	cmd.Env = append(os.Environ(), runAllEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("the test of a bad client passes")
	}
	for _, want := range []string{
		"--- FAIL: TestRunAllOfABadClient/alone/persistence/persist-10-default",
		"--- FAIL: TestRunAllOfABadClient/cases/keep-alive-hints/hint-timeout-60",
		"passes: take it off the list of known ones (outdated)",
		"--- FAIL: TestRunAllOfABadClient/cases/retry/retry-keeps-request-bytes",
		"--- PASS: TestRunAllOfABadClient/cases/trailers/trailer-one",
		`Options.Known["persist-10-default"]: only a should or either case of this run can be excused`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
