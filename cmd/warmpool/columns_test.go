package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
)

// busy is an upstream as it stands in production, by figures that take their place.
func busy() *warmpoolv1.UpstreamStats {
	return &warmpoolv1.UpstreamStats{
		Name: "payments", State: warmpoolv1.UpstreamState_UPSTREAM_STATE_ACTIVE,
		Active: 118, Idle: 42, Waiting: 1024, Warm: 16, Max: 256, Attempts: 10_000_000, Reused: 9_990_000, Responses: 9_999_000,
		Failures: []*warmpoolv1.ReasonCount{{Reason: warmpoolv1.Reason_REASON_WAIT_TIMEOUT, Count: 12345}},
		Retries:  []*warmpoolv1.ReasonCount{{Reason: warmpoolv1.Reason_REASON_CONNECTION_CLOSED, Count: 1234}},
		Opened:   23456, BytesSent: 3 << 40, BytesReceived: 17 << 40,
	}
}

func listedBusy() *warmpoolv1.UpstreamStatus {
	return &warmpoolv1.UpstreamStatus{
		Upstream: &warmpoolv1.Upstream{Name: "payments", Url: "https://payments.internal:8443"},
		State:    warmpoolv1.UpstreamState_UPSTREAM_STATE_ACTIVE, Source: warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE, Stats: busy(),
	}
}

func carrying() *warmpoolv1.Connection {
	return &warmpoolv1.Connection{
		Id: 123456, Upstream: "payments", Endpoint: "10.123.145.167:8443", State: warmpoolv1.ConnectionState_CONNECTION_STATE_ACTIVE,
		Age: durationpb.New(14*time.Minute + 59*time.Second), Idle: durationpb.New(52 * time.Second), IdleLimit: durationpb.New(54 * time.Second),
		IdleLimitSource: warmpoolv1.IdleLimitSource_IDLE_LIMIT_SOURCE_ANNOUNCED, Exchanges: 1234567, InFlight: 1,
		BytesSent: 123 << 30, BytesReceived: 456 << 30,
		Tcp: &warmpoolv1.TcpFigures{Rtt: durationpb.New(1234 * time.Microsecond), EffectiveWindowBytes: 123 << 10},
	}
}

func TestTablesFitAnOrdinaryTerminalAndShowAllWhereThatIsAskedFor(t *testing.T) {
	dialing, changed, paused := listedBusy(), listedBusy(), busy()
	dialing.Stats.Dialing = 8
	changed.Source = warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API
	paused.State = warmpoolv1.UpstreamState_UPSTREAM_STATE_PAUSED
	piped, gone, leaving := carrying(), carrying(), carrying()
	piped.InFlight = 4
	gone.State, gone.Idle, gone.IdleLimit, gone.InFlight = warmpoolv1.ConnectionState_CONNECTION_STATE_CLOSED, nil, nil, 0
	gone.CloseTime, gone.CloseReason = timestamppb.New(time.Now()), warmpoolv1.CloseReason_CLOSE_REASON_SURPLUS
	leaving.State, leaving.CloseReason = warmpoolv1.ConnectionState_CONNECTION_STATE_DRAINING, warmpoolv1.CloseReason_CLOSE_REASON_SURPLUS
	second := &warmpoolv1.Stats{Time: timestamppb.New(time.Unix(1, 0)), Upstreams: []*warmpoolv1.UpstreamStats{busy()}}
	upstreams := func(list ...*warmpoolv1.UpstreamStatus) columns { return upstreamsTable(list) }
	stats := func(list ...*warmpoolv1.UpstreamStats) columns {
		return statsTable(nil, &warmpoolv1.Stats{Upstreams: list})
	}
	connections := func(list ...*warmpoolv1.Connection) columns { return connectionsTable(list) }

	for name, c := range map[string]struct {
		table columns
		want  string // the heads
	}{
		"upstreams":                       {upstreams(listedBusy()), "UPSTREAM STATE ACTIVE IDLE WAITING WARM URL"},
		"one whose settings were changed": {upstreams(changed), "UPSTREAM STATE SOURCE ACTIVE IDLE WAITING WARM URL"},
		"one that is being connected to":  {upstreams(listedBusy(), dialing), "UPSTREAM STATE ACTIVE IDLE DIALING WAITING WARM URL"},
		"stats":                           {stats(busy()), "UPSTREAM ACTIVE IDLE WAITING MAX RESPONSES FAILURES RETRIES REUSED"},
		"stats of a paused one":           {stats(busy(), paused), "UPSTREAM STATE ACTIVE IDLE WAITING MAX RESPONSES FAILURES RETRIES REUSED"},
		"rates":                           {statsTable(&warmpoolv1.Stats{Time: timestamppb.New(time.Unix(0, 0))}, second), "UPSTREAM ACTIVE IDLE WAITING MAX RESPONSES FAILURES RETRIES REUSED"},
		"connections":                     {connections(carrying()), "ID UPSTREAM ENDPOINT STATE AGE IDLE LIMIT DONE"},
		"with pipelining":                 {connections(carrying(), piped), "ID UPSTREAM ENDPOINT STATE AGE IDLE LIMIT DONE NOW"},
		"one that is leaving":             {connections(leaving), "ID UPSTREAM ENDPOINT STATE AGE IDLE LIMIT DONE END"},
		"those that ended":                {connections(gone), "ID UPSTREAM ENDPOINT AGE DONE END"},
	} {
		t.Run(name, func(t *testing.T) {
			printed := func(wide bool) (heads []string, text string, widest int) {
				var b strings.Builder
				c.table.wide = wide
				c.table.print(&b, false, "nothing")
				lines := strings.Split(strings.TrimSpace(b.String()), "\n")
				for _, line := range lines {
					widest = max(widest, utf8.RuneCountInString(line))
				}
				return strings.Fields(lines[0]), b.String(), widest
			}
			heads, text, widest := printed(false)
			if got := strings.Join(heads, " "); got != c.want {
				t.Errorf("the heads are %s, want %s", got, c.want)
			}
			ordinary := name == "upstreams" || name == "stats" || name == "connections"
			if most := 80; ordinary && widest > most || widest > 96 {
				t.Errorf("it is %d columns wide\n%s", widest, text)
			}
			_, text, _ = printed(true)
			for _, h := range c.table.heads {
				if name, _, _, _ := h.parts(); !strings.Contains(text, name) {
					t.Errorf("all is asked for, and there is no %s\n%s", name, text)
				}
			}
		})
	}
}
