package config

import (
	"crypto/tls"
	"math"
	"net/netip"
	"time"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/pool/h1"
)

// Policy is the engine's policy for an upstream, and the files that were read for it:
// the policy is the same as long as they are. It checks the upstream as Load checks
// each of a file, reads the files that its settings name, relative ones in dir, and
// reports everything that is wrong as an *Error whose paths begin at the upstream
// ("connections.max"). What is absent has its default.
func Policy(u *warmpoolv1.Upstream, dir string) (pool.Policy, []File, error) {
	p := newProblems()
	p.upstream(u, "")
	var files []File
	c := p.credentials(upstreamFiles(u.GetTls()), dir, "tls", &files)
	if err := p.err(""); err != nil {
		return pool.Policy{}, nil, err
	}
	return translate(WithDefaults(u), c), files, nil
}

// translate maps a valid upstream that has its defaults.
func translate(u *warmpoolv1.Upstream, c credentials) pool.Policy {
	var (
		connections = u.GetConnections()
		timeouts    = u.GetTimeouts()
		limits      = u.GetLimits()
		tcp         = u.GetTcp()
	)
	policy := pool.Policy{
		Name: u.GetName(),
		URL:  u.GetUrl(),

		Warm:        int(connections.GetWarm()),
		Max:         int(connections.GetMax()),
		MaxDialing:  int(connections.GetMaxDialing()),
		MaxIdleTime: connections.GetMaxIdleTime().AsDuration(),
		MaxLifetime: connections.GetMaxLifetime().AsDuration(),
		MaxRequests: int(min(connections.GetMaxRequests(), math.MaxInt)),
		PeakMemory:  connections.GetPeakMemory().AsDuration(),
		Preconnect:  connections.GetPreconnect(),

		Selection:     selections[connections.GetSelection()],
		PipelineDepth: int(u.GetPipelining().GetDepth()),
		MaxAttempts:   int(u.GetRetry().GetMaxAttempts()),
		RetryBudget:   u.GetRetry().GetBudget(),
		MinRetries:    int(u.GetRetry().GetMinBudget()),

		MaxWaiting: int(u.GetQueue().GetMaxWaiting()),
		MaxWait:    u.GetQueue().GetMaxWait().AsDuration(),

		ConnectTimeout:      timeouts.GetConnect().AsDuration(),
		TLSHandshakeTimeout: timeouts.GetTlsHandshake().AsDuration(),
		ResponseHeadTimeout: timeouts.GetResponseHead().AsDuration(),
		ExpectContinue:      timeouts.GetExpectContinue().AsDuration(),
		BodyIdleTimeout:     timeouts.GetBodyIdle().AsDuration(),

		Limits: h1.Limits{
			HeadBytes:      int(limits.GetResponseHeadBytes()),
			Fields:         int(limits.GetResponseFields()),
			ChunkLineBytes: int(limits.GetChunkLineBytes()),
			TrailerBytes:   int(limits.GetTrailerBytes()),
		},
		MaxBufferedBody: int64(limits.GetBufferedBodyBytes()),

		TLS: pool.TLSPolicy{
			RootCAs:            c.roots,
			Certificates:       c.certificates,
			ServerName:         u.GetTls().GetServerName(),
			MinVersion:         tlsVersions[u.GetTls().GetMinVersion()],
			InsecureSkipVerify: u.GetTls().GetDangerouslySkipVerification() != "",
			SessionCache:       int(u.GetTls().GetSessionCache()),
		},
		TCP: pool.TCPPolicy{
			KeepAliveIdle:     orNever(tcp.GetKeepaliveIdle().AsDuration()),
			KeepAliveInterval: tcp.GetKeepaliveInterval().AsDuration(),
			KeepAliveCount:    int(tcp.GetKeepaliveCount()),
			Congestion:        tcp.GetCongestion(),
			UserTimeout:       tcp.GetUserTimeout().AsDuration(),
		},

		DNS: pool.DNSPolicy{
			Refresh: u.GetDns().GetRefresh().AsDuration(),
			MinTTL:  u.GetDns().GetMinTtl().AsDuration(),
			MaxTTL:  u.GetDns().GetMaxTtl().AsDuration(),
			SRV:     u.GetDns().GetSrv(),
		},
		Upkeep: pool.UpkeepPolicy{
			Connections: int(u.GetUpkeep().GetConnections()),
			Method:      u.GetUpkeep().GetMethod(),
			Path:        u.GetUpkeep().GetPath(),
			Interval:    u.GetUpkeep().GetInterval().AsDuration(),
			AfterUse:    u.GetUpkeep().GetAfterUse().AsDuration(),
		},
	}
	for _, text := range u.GetEndpoints() {
		policy.Endpoints = append(policy.Endpoints, netip.MustParseAddrPort(text))
	}
	for _, text := range u.GetDns().GetServers() {
		policy.DNS.Servers = append(policy.DNS.Servers, netip.MustParseAddrPort(text))
	}
	for _, text := range tcp.GetSourceAddresses() {
		policy.TCP.SourceAddresses = append(policy.TCP.SourceAddresses, netip.MustParseAddr(text))
	}
	return policy
}

var selections = map[string]pool.Selection{
	"recent": pool.SelectRecent, "round_robin": pool.SelectRoundRobin, "warmest": pool.SelectWarmest,
}

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// orNever turns the zero of keepalive_idle, no probes, into the engine's
// negative one; zero is the system's default there.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
