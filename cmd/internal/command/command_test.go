package command

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

func TestHowAProgramEndsIsItsExitCode(t *testing.T) {
	parse := func(args ...string) (err error, n int, stdout string) {
		var out bytes.Buffer
		flags := Flags("measure")
		flags.IntVar(&n, "rounds", 5, "rounds that count")
		err = Parse(flags, args, "Measures.\n", &out)
		return err, n, out.String()
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string // on stderr, after the program's name
	}{
		"no flags":        {nil, ExitOK, ""},
		"a flag":          {[]string{"-rounds", "7"}, ExitOK, ""},
		"help":            {[]string{"-help"}, ExitOK, ""},
		"an unknown flag": {[]string{"-round"}, ExitUsage, "flag provided but not defined: -round; see -help\n"},
		"a wrong value":   {[]string{"-rounds", "x"}, ExitUsage, `invalid value "x" for flag -rounds: parse error; see -help` + "\n"},
		"an argument":     {[]string{"rounds"}, ExitUsage, `unexpected argument "rounds"; there are flags only, see -help` + "\n"},
	} {
		err, n, stdout := parse(c.args...)
		var stderr bytes.Buffer
		if code := ExitCode("measure", err, &stderr); code != c.code {
			t.Errorf("%s: exit code %d, want %d", name, code, c.code)
		}
		if got, _ := strings.CutPrefix(stderr.String(), "measure: "); got != c.says {
			t.Errorf("%s: it says %q, want %q", name, got, c.says)
		}
		if help := errors.Is(err, flag.ErrHelp); help != strings.Contains(stdout, "Measures.") || help != strings.Contains(stdout, "rounds that count") {
			t.Errorf("%s: stdout has %q", name, stdout)
		}
		if name == "a flag" && n != 7 {
			t.Errorf("the flag is %d, want 7", n)
		}
	}
	if code := ExitCode("measure", io.ErrUnexpectedEOF, io.Discard); code != ExitFailure {
		t.Errorf("exit code %d of a failure, want %d", code, ExitFailure)
	}
}
