package sidecar

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/warmpool-dev/warmpool/pool"
)

// observer writes what happens to connections into the log: openings and closes
// for whoever debugs, failures as warnings.
func observer(log *slog.Logger, dials *dialLog) pool.Observer {
	ctx := context.Background()
	return pool.Observer{
		ConnectionOpened: func(c pool.ConnectionInfo) {
			dials.opened(c.Upstream, c.Endpoint)
			if !log.Enabled(ctx, slog.LevelDebug) {
				return
			}
			log.Debug("connection opened", "upstream", c.Upstream, "connection", c.ID, "endpoint", c.Endpoint.String(),
				"connect", c.Connect, "tls", c.Handshake)
		},
		ConnectionClosed: func(c pool.ConnectionInfo, why pool.CloseReason) {
			if !log.Enabled(ctx, slog.LevelDebug) {
				return
			}
			log.Debug("connection closed", "reason", why.String(), "upstream", c.Upstream, "connection", c.ID,
				"endpoint", c.Endpoint.String(), "age", c.Age, "exchanges", c.Exchanges)
		},
		DialFailed: func(upstream string, why pool.Reason, endpoint netip.AddrPort, err error) {
			dials.failed(upstream, why, endpoint, err)
		},
		ResolveFailed: func(f pool.ResolveFailure) {
			if f.Known == 0 {
				dials.failed(f.Upstream, pool.ReasonDNSFailed, netip.AddrPort{}, f.Err)
				return
			}
			level := slog.LevelDebug
			if f.Failures == 1 {
				level = slog.LevelWarn
			}
			log.Log(ctx, level, "the addresses could not be looked up; those known stay in use", "reason", pool.ReasonDNSFailed.String(),
				"upstream", f.Upstream, "known", f.Known, "failures", f.Failures, "error", f.Err)
		},
		ResolveRecovered: func(upstream string, failures int, lasted time.Duration) {
			log.Info("the addresses are looked up again", "upstream", upstream, "failures", failures, "lasted", lasted.Round(time.Millisecond))
		},
		EndpointsChanged: func(c pool.EndpointChange) {
			dials.gone(c.Upstream, c.Gone)
			level := slog.LevelInfo
			if len(c.Added)+len(c.Gone) == 0 { // a server that answers with parts of a set does that all the time
				level = slog.LevelDebug
			}
			attrs := []any{"upstream", c.Upstream, "current", c.Current}
			for _, list := range []struct {
				what  string
				addrs []netip.AddrPort
			}{{"added", c.Added}, {"returned", c.Returned}, {"missing", c.Missing}, {"gone", c.Gone}} {
				if len(list.addrs) > 0 {
					attrs = append(attrs, list.what, list.addrs)
				}
			}
			log.Log(ctx, level, "addresses changed", attrs...)
		},
		ModeChanged: func(upstream string, mode pool.Mode) {
			log.Info("upstream "+modeWord(mode), "upstream", upstream)
		},
		PortsShort: func(upstream string, use pool.PortUse) {
			log.Warn("local ports run short", "upstream", upstream, "source", use.Source.String(),
				"endpoint", use.Endpoint.String(), "open", use.Open, "time_wait", use.TimeWait, "range", use.Range,
				"remedy", "widen net.ipv4.ip_local_port_range or give tcp.source_addresses")
		},
		UpkeepChanged: func(c pool.UpkeepChange) {
			if c.Refused {
				log.Warn("no requests are sent to keep windows open", "upstream", c.Upstream, "endpoint", c.Endpoint.String(),
					"because", c.Because)
			} else {
				log.Info("windows are kept open by requests again", "upstream", c.Upstream, "endpoint", c.Endpoint.String(),
					"because", c.Because)
			}
		},
		PrivilegeChanged: func(c pool.PrivilegeChange) {
			level := slog.LevelInfo
			if c.Lost {
				level = slog.LevelWarn
			}
			log.Log(ctx, level, privilegeText(c), "upstream", c.Upstream, "endpoint", c.Endpoint.String(), "because", c.Because)
		},
	}
}
