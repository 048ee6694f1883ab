package main

import (
	"strings"
	"testing"
)

const wrongConfiguration = `listen: ["unix:///tmp/warmpool.sock"]
` + wrongConfigurationTail

const wrongConfigurationTail = `colour: blue
drain: {grace: 5}
upstreams:
  - name: payments
    url: ftp://payments.internal
    connections: {warm: 9, max: 0}
  - name: payments
    url: http://payments.internal
`

// wrongConfigurationProblems are the paths that the report must name.
var wrongConfigurationProblems = []string{
	"colour", "drain.grace", "upstreams[0] (payments).url", "upstreams[0] (payments).connections.max", "upstreams[1] (payments).name",
}

func TestCheckListsEveryProblemAndEndsWithTwo(t *testing.T) {
	path := file(t, "warmpool.yaml", wrongConfiguration)
	o := warmpool(t, "check", path)
	o.expect(t, exitUsage, wrongConfigurationProblems...)
	o.expect(t, exitUsage, path+":2", path+":3", path+":6", path+":7")
	if o.stdout != "" {
		t.Errorf("want problems on standard error only, got %s", o)
	}
}

func TestCheckListsTheUpstreamsOfARightFile(t *testing.T) {
	path := file(t, "warmpool.yaml", `upstreams:
  - {name: payments, url: "https://payments.internal:8443", connections: {warm: 4, max: 16}}
  - {name: a, url: "http://127.0.0.1:8080", queue: {max_wait: 250ms}}
`)
	o := warmpool(t, "check", path)
	o.expect(t, exitOK, path+": ok\n")
	lines := strings.Split(o.stdout, "\n")
	if len(lines) < 5 {
		t.Fatalf("want a table of two upstreams, got %s", o)
	}
	for i, want := range []string{"UPSTREAM URL WARM MAX MAX WAITING MAX WAIT", "payments https://payments.internal:8443 4 16 1024 1s", "a http://127.0.0.1:8080 0 64 1024 250ms"} {
		if got := strings.Join(strings.Fields(lines[2+i]), " "); got != want {
			t.Errorf("line %d: want %q, got %q", 2+i, want, got)
		}
	}
	if strings.Index(lines[2], "URL") != strings.Index(lines[3], "https:") {
		t.Errorf("the table is not aligned:\n%s", o.stdout)
	}
}

func TestCheckReadsTheCertificates(t *testing.T) {
	authority := file(t, "authority.pem", "no certificate")
	path := file(t, "warmpool.yaml", `upstreams:
  - {name: payments, url: "https://payments.internal", tls: {ca_file: "`+authority+`"}}
`)
	warmpool(t, "check", path).expect(t, exitUsage, authority, "payments")
}
