package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestAllMistakesAreListedAtOnceInOrder(t *testing.T) {
	file := write(t, "warmpool.yaml", `listen: tcp://127.0.0.1:7600
log: {level: loud}
unknown: 1
upstreams:
  - name: payments
    url: https://payments.internal:8443
    connections:
      warm: 10
      max: 0
      max_idle_time: 5
  - name: search
    url: http://search
    queue: {max_wait: -1s}
  - name: payments
    url: ftp://payments
    tls: {ca_file: missing.pem}
`)
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--procs=none"}); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Source{File: file, Flags: flags, Environ: []string{"WARMPOOL_LOG_FORMAT=xml"}})
	if err == nil {
		t.Fatal("loaded")
	}
	f := file
	want := strings.Join([]string{
		`command line|--procs|"none": must be a whole number in decimal digits: 1 to 1024`,
		`environment|WARMPOOL_LOG_FORMAT|"xml": must be "json" or "text"`,
		f + `:1|listen|"tcp://127.0.0.1:7600": must be a list of texts`,
		f + `:2|log.level|"loud": must be "debug", "info", "warn" or "error"`,
		f + `:3|unknown|unknown key; known are listen, control, admin, log, drain, procs, grpc, socket, upstreams, tls, dangerously_unprotected, allow, telemetry, dynamic_origins, callers, warm_timeout, max_dialing`,
		f + `:9|upstreams[0] (payments).connections.max|0: must be 1 to 100000`,
		f + `:10|upstreams[0] (payments).connections.max_idle_time|5: must be a duration with its unit, such as "250ms", "55s" or "1h30m": 100ms to 24h, or 0s (no limit of its own)`,
		f + `:13|upstreams[1] (search).queue.max_wait|"-1s": must be 1ms to 10m, or 0s (as long as the request's own timeout and deadline allow)`,
		f + `:14|upstreams[2] (payments).name|"payments": is the name of upstreams[0] already; each upstream needs its own`,
		f + `:15|upstreams[2] (payments).url|"ftp://payments": must be an origin such as "https://payments.internal:8443": it must begin with "http://" or "https://"`,
		f + `:16|upstreams[2] (payments).tls.ca_file|"missing.pem": there is no such file`,
	}, "\n")
	var rows []string
	columns := make(map[int]bool)
	for row := range strings.SplitSeq(err.Error(), "\n") {
		fields := strings.SplitN(row, "  ", 2)
		path, text, _ := strings.Cut(strings.TrimLeft(fields[1], " "), "  ")
		rows = append(rows, strings.Join([]string{fields[0], path, strings.TrimLeft(text, " ")}, "|"))
		columns[strings.Index(row, strings.TrimLeft(text, " "))] = true
	}
	if diff := cmp.Diff(want, strings.Join(rows, "\n")); diff != "" {
		t.Error(diff)
	}
	if len(columns) != 1 {
		t.Errorf("the messages begin in columns %v:\n%v", columns, err)
	}
}

func TestAMistakeIsNotBlamedForWhatFollowsFromIt(t *testing.T) {
	for _, document := range []string{
		upstream("connections: {warm: 70, max: many}"),                 // warm over the default of max
		upstream("connections: 5"),                                     // nothing inside it
		upstream("tls: {cert_file: none.pem, key_file: 7}"),            // cert_file without key_file
		"upstreams: [{name: [], url: http://a}]",                       // name missing
		"upstreams: [7]",                                               // name and url missing
		"upstreams: [{name: a, url: 'http://', tls: {ca_file: none}}]", // tls for a plain url
	} {
		_, err := load(t, ".yaml", document)
		found := problemsOf(t, err)
		mistakes := 1
		if strings.Contains(document, "none") {
			mistakes = 2 // the file is one of its own
		}
		if len(found) != mistakes {
			t.Errorf("%s:\n%v", document, err)
		}
	}
}

func TestAFileThatIsNoConfigurationIsListedInPart(t *testing.T) {
	var keys strings.Builder
	for i := range maxProblems + 7 {
		fmt.Fprintf(&keys, "key%d: 1\n", i)
	}
	_, err := load(t, ".yaml", keys.String())
	found := problemsOf(t, err)
	if len(found) != maxProblems+1 || found[maxProblems].Message != "and 7 more" {
		t.Errorf("%d problems, the last %+v", len(found), found[len(found)-1])
	}
}

func TestFilesThatCannotBeConfigurations(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	large := write(t, "large.yaml", strings.Repeat("# comment\n", maxFileSize/10+1))
	for file, message := range map[string]string{
		filepath.Join(dir, "none.yaml"):     "there is no such file",
		filepath.Join(dir, "folder.yaml"):   "is a directory, must be a file",
		filepath.Join(dir, "warmpool.conf"): `the extension ".conf" names no format; it must be .yaml (or .yml), .toml or .json`,
		filepath.Join(dir, "warmpool"):      `the extension "" names no format`,
		filepath.Join(dir, "warmpool.YAML"): `the extension ".YAML" names no format`,
		large:                               "is larger than 4MiB",
		filepath.Join(large, "in.json"):     "cannot be read: not a directory",
	} {
		_, err := Load(Source{File: file, Environ: []string{"WARMPOOL_LOG_LEVEL=x"}})
		found := problemsOf(t, err)
		if len(found) != 2 || !strings.Contains(found[0].Message, message) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAFileThatMayNotBeReadIsSaidSo(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root may read everything: only the error's wording is tested")
		if err := fileError(&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}); !strings.Contains(err.Error(), "may not be read by this user (uid 0)") {
			t.Error(err)
		}
		return
	}
	file := write(t, "warmpool.yaml", "procs: 1\n")
	if err := os.Chmod(file, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{File: file}); err == nil || !strings.Contains(err.Error(), "may not be read by this user") {
		t.Error(err)
	}
}

func TestWhatIsAllowedInAFile(t *testing.T) {
	for name, c := range map[string]struct{ extension, content string }{
		"comments only":              {".yaml", "# nothing\n"},
		"a document mark":            {".yaml", "---\n"},
		"an empty table":             {".json", "{}"},
		"comments only in TOML":      {".toml", "# nothing\n"},
		"a byte order mark":          {".json", "\ufeff{}"},
		"the other extension":        {".yml", "procs: 1"},
		"empty sections":             {".yaml", "log: {}\nupstreams: []\n"},
		"an empty text":              {".yaml", upstream(`tls: {ca_file: ""}`)},
		"defaults that have no say":  {".yaml", "upstreams: [{name: a, url: http://a, tls: {min_version: '1.2'}, dns: {min_ttl: 5s}}]"},
		"brackets in TOML texts":     {".toml", "# " + strings.Repeat("[", 200) + "\nadmin = 'off' # [\n[log]\nlevel = \"\"\"\\\n  info\"\"\"\n"},
		"a number with separators":   {".toml", "procs = 1_0\n"},
		"a header after its child":   {".toml", "[grpc]\nmax_session_calls=1\n[[upstreams]]\nname='a'\nurl='http://a'\n[upstreams.queue]\nmax_wait='1s'\n[[upstreams]]\nname='b'\nurl='http://b'\n[upstreams.queue]\n"},
		"zero where it has a sense":  {".yaml", upstream("connections: {max_idle_time: 0s, max_lifetime: 0s, max_requests: 0}")},
		"rules":                      {".yaml", "allow: [{uid: 0, upstreams: [a]}, {gid: 5, control: read}, {upstreams: ['*']}]"},
		"a listener for everybody":   {".yaml", "listen: ['tcp://:7600']\ndangerously_unprotected: serve-anybody"},
		"an IPv6 origin":             {".yaml", "upstreams: [{name: a, url: 'http://[2001:db8::1]:80'}]"},
		"the same port 0 everywhere": {".yaml", "listen: ['tcp://127.0.0.1:0']\ncontrol: ['unix:///x']\nadmin: 127.0.0.1:0\n"},
	} {
		if _, err := load(t, c.extension, c.content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAliasesAndMergeKeysStandForTheirValue(t *testing.T) {
	loaded, err := load(t, ".yaml", `
upstreams:
  - name: a
    url: http://a
    connections: &usual {warm: 2, max: 8}
    queue: &queue {max_wait: 2s}
  - name: b
    url: http://b
    connections: *usual
  - name: c
    url: http://c
    connections: {<<: *usual, max: 9}
    queue: {<<: [{max_wait: 3s}, *queue]}
`)
	if err != nil {
		t.Fatal(err)
	}
	u := loaded.Config.GetUpstreams()
	for i, want := range []uint32{8, 8, 9} {
		if c := u[i].GetConnections(); c.GetWarm() != 2 || c.GetMax() != want {
			t.Errorf("upstreams[%d]: %v", i, c)
		}
	}
	if got := u[2].GetQueue().GetMaxWait().AsDuration().Seconds(); got != 3 {
		t.Errorf("the first of several merged tables must win, got %v s", got)
	}
}

func TestTheThreeFormatsMeanTheSame(t *testing.T) {
	document, err := os.ReadFile("../../deploy/examples/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want *Loaded
	for _, extension := range []string{".yaml", ".json", ".toml"} {
		content, _ := in(t, extension, string(document))
		loaded, err := load(t, extension, content)
		if err != nil {
			t.Fatalf("%s: %v", extension, err)
		}
		if want == nil {
			want = loaded
		}
		if diff := cmp.Diff(want.Config, loaded.Config, protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", extension, diff)
		}
	}
}

func TestLoadedTellsWhatWasRead(t *testing.T) {
	file := write(t, "warmpool.yaml", upstream("tls: {ca_file: ca.pem}"))
	certificate, _ := selfSigned(t, "ca")
	ca := filepath.Join(filepath.Dir(file), "ca.pem")
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if loaded.File != file || loaded.Dir != filepath.Dir(file) {
		t.Errorf("File %s, Dir %s", loaded.File, loaded.Dir)
	}
	if len(loaded.Files) != 2 || loaded.Files[0].Path != file || loaded.Files[1].Path != ca {
		t.Fatalf("Files %v", loaded.Files)
	}
	again, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(loaded.Files, again.Files); diff != "" {
		t.Error(diff)
	}
	other, _ := selfSigned(t, "another ca")
	if err := os.WriteFile(ca, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = Load(Source{File: file}); err != nil {
		t.Fatal(err)
	}
	if again.Files[0] != loaded.Files[0] || again.Files[1] == loaded.Files[1] {
		t.Error("the hash of exactly the file that changed must change")
	}
}

func TestWarnings(t *testing.T) {
	for document, want := range map[string]string{
		upstream("queue: {max_waiting: 0}"):                                      "",
		upstream("tls: {dangerously_skip_verification: accept-any-certificate}"): "upstreams[0] (payments).tls.dangerously_skip_verification: any certificate is accepted",
		upstream("limits: {buffered_body_bytes: 8MiB}"):                          "upstreams[0] (payments).limits.buffered_body_bytes is 8MiB, but requests are bounded by grpc.max_message_bytes, which is 5MiB",
		upstream("upkeep: {connections: 1, interval: 250ms}"):                    "upstreams[0] (payments).upkeep.interval is 250ms: that buys something only where the retransmission timeout is longer",
		upstream("tcp: {congestion: nosuch}"):                                    "upstreams[0] (payments).tcp.congestion: ",
		upstream("upkeep: {interval: 250ms}"):                                    "",
		"control: ['off']":                                                       "there are no upstreams",
	} {
		loaded, err := load(t, ".yaml", document)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(loaded.Warnings, "\n"); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q", document, got)
		}
	}
}
