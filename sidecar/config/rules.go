package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// rulef adds a problem that only several settings together have, unless one of
// them is wrong by itself.
func (p *problems) rulef(involved []string, path, value, format string, args ...any) {
	if !slices.ContainsFunc(involved, p.spoiled) {
		p.addf(path, value, format, args...)
	}
}

// configRules checks what the settings outside the upstreams ask of each other,
// and the upstreams' names.
func (p *problems) configRules(c *warmpoolv1.Config) {
	bound := make(map[string]string) // address -> path of the listener
	once := func(path, address string) {
		if address == off || strings.HasSuffix(address, ":0") {
			return
		}
		if first, ok := bound[address]; ok {
			p.rulef([]string{path, first}, path, quoted(address), "is the address of %s already; each listener needs its own", first)
			return
		}
		bound[address] = path
	}
	full := WithDefaults(&warmpoolv1.Config{Listen: c.GetListen(), Control: c.GetControl(), Admin: c.GetAdmin()})
	for i, address := range full.GetListen() {
		if path := at("listen", i); address == off {
			p.rulef([]string{path}, path, quoted(off), "is not for data listeners: without one the sidecar serves nobody")
		} else {
			once(path, address)
		}
	}
	for i, address := range full.GetControl() {
		if path := at("control", i); address == off && len(full.GetControl()) > 1 {
			p.rulef([]string{path}, path, quoted(off), "must stand alone: there is a control plane or there is none")
		} else {
			once(path, address)
		}
	}
	once("admin", "tcp://"+full.GetAdmin())

	p.accessRules(c)

	first := make(map[string]string)
	for i, u := range c.GetUpstreams() {
		path := join(at(upstreamsKey, i), "name")
		if u.GetName() == "" {
			continue
		}
		if other, ok := first[u.GetName()]; ok {
			p.rulef([]string{path}, path, quoted(u.GetName()), "is the name of %s already; each upstream needs its own", other)
			continue
		}
		first[u.GetName()] = at(upstreamsKey, i)
	}

	const path = "dynamic_origins.like"
	if like := c.GetDynamicOrigins().GetLike(); like != "" && first[like] == "" {
		p.rulef([]string{path}, path, quoted(like), "is the name of no upstream of this file")
	}
}

// pairRules: a certificate and its key need each other. path is that of what the
// tls section stands in.
func (p *problems) pairRules(t tlsFiles, path string) {
	certificate, key := join(path, "tls.cert_file"), join(path, "tls.key_file")
	if t.certificate != "" && t.key == "" {
		p.rulef([]string{key}, certificate, quoted(t.certificate), "needs tls.key_file: the certificate's key")
	}
	if t.key != "" && t.certificate == "" {
		p.rulef([]string{certificate}, key, quoted(t.key), "needs tls.cert_file: the key's certificate")
	}
}

// upstreamRules checks what the settings of one upstream ask of each other and
// of the engine.
func (p *problems) upstreamRules(u *warmpoolv1.Upstream, path string) {
	in := func(key string) string { return join(path, key) }
	full := WithDefaults(u)

	if c := full.GetConnections(); c.GetWarm() > c.GetMax() {
		p.rulef([]string{in("connections.warm"), in("connections.max")}, in("connections.warm"), fmt.Sprint(c.GetWarm()),
			"must be at most connections.max, which is %d", c.GetMax())
	}

	tls := u.GetTls()
	p.pairRules(upstreamFiles(tls), path)
	if strings.HasPrefix(u.GetUrl(), "http://") && changes("tls", tls) {
		p.rulef([]string{in("url")}, in("tls"), "", `is only for a url of scheme https; url is %s`, quoted(u.GetUrl()))
	}

	if len(u.GetEndpoints()) > 0 && changes("dns", u.GetDns()) {
		p.rulef([]string{in("endpoints")}, in("dns"), "", "is only for an upstream without endpoints: fixed addresses are not resolved")
	}
	if low, high := full.GetDns().GetMinTtl(), full.GetDns().GetMaxTtl(); low.AsDuration() > high.AsDuration() {
		p.rulef([]string{in("dns.min_ttl"), in("dns.max_ttl")}, in("dns.min_ttl"), shown(low),
			"must be at most dns.max_ttl, which is %s", shown(high))
	}

	if k := full.GetUpkeep(); k.GetConnections() > 0 {
		p.upkeepRules(full, k, in)
	}
}

// upkeepRules refuses upkeep that could never send a request, or would take the
// last idle connection.
func (p *problems) upkeepRules(u *warmpoolv1.Upstream, k *warmpoolv1.Upkeep, in func(string) string) {
	if most := u.GetConnections().GetMax(); k.GetConnections() >= most {
		p.rulef([]string{in("upkeep.connections"), in("connections.max")}, in("upkeep.connections"), fmt.Sprint(k.GetConnections()),
			"must be below connections.max, which is %d: one idle connection is always left to callers", most)
	}
	if k.GetInterval().AsDuration() >= k.GetAfterUse().AsDuration() {
		p.rulef([]string{in("upkeep.interval"), in("upkeep.after_use")}, in("upkeep.interval"), shown(k.GetInterval()),
			"must be below upkeep.after_use, which is %s: no request would be sent", shown(k.GetAfterUse()))
	}
	if idle := u.GetConnections().GetMaxIdleTime(); idle.AsDuration() > 0 && k.GetInterval().AsDuration() >= idle.AsDuration() {
		p.rulef([]string{in("upkeep.interval"), in("connections.max_idle_time")}, in("upkeep.interval"), shown(k.GetInterval()),
			"must be below connections.max_idle_time, which is %s: the connection would be retired first", shown(idle))
	}
}

func shown(d *durationpb.Duration) string { return durationText(d.AsDuration()) }

// leastTimeout is Linux's shortest retransmission timeout (TCP_RTO_MIN).
const leastTimeout = 200 * time.Millisecond

// warnings are what is allowed and yet worth a word at each load. The
// configuration is valid and has its defaults.
func warnings(c *warmpoolv1.Config) []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(c.GetUpstreams()) == 0 && c.GetControl()[0] == off {
		warn("there are no upstreams, and without a control listener none can be added: every request will fail")
	}
	for i, u := range c.GetUpstreams() {
		path := fmt.Sprintf("%s (%s).", at(upstreamsKey, i), u.GetName())
		for _, text := range Warnings(u) {
			warn("%s%s", path, text)
		}
		if body, message := u.GetLimits().GetBufferedBodyBytes(), c.GetGrpc().GetMaxMessageBytes(); body >= message {
			warn("%slimits.buffered_body_bytes is %s, but requests are bounded by grpc.max_message_bytes, which is %s",
				path, sizeText(body), sizeText(message))
		}
	}
	return all
}

// Warnings are what an upstream's policy says that is allowed and yet worth a word. It
// is valid and has its defaults.
func Warnings(u *warmpoolv1.Upstream) []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if u.GetTls().GetDangerouslySkipVerification() != "" {
		warn("tls.dangerously_skip_verification: any certificate is accepted, so that anyone on the way can read and change everything")
	}
	if name := u.GetTcp().GetCongestion(); name != "" {
		if err := pool.CheckCongestion(name); err != nil {
			warn("tcp.congestion: %v; until then the system's own is used", err)
		}
	}
	if k := u.GetUpkeep(); k.GetConnections() > 0 && k.GetInterval().AsDuration() >= leastTimeout {
		warn("upkeep.interval is %s: that buys something only where the retransmission timeout is longer, which is the round trip and %s on Linux; where it is not, nothing will be sent",
			shown(k.GetInterval()), shown(durationpb.New(leastTimeout)))
	}
	return all
}

// changes reports whether a section of an upstream says anything but defaults. A
// policy whose defaults were filled in stays as valid as it was without them.
func changes(key string, m proto.Message) bool {
	for _, e := range upstreamSchema().byName[key].section.entries {
		if r := m.ProtoReflect(); r.Has(e.field) && (e.list() || !e.setting.isDefault(r.Get(e.field))) {
			return true
		}
	}
	return false
}

func (s *setting) isDefault(v protoreflect.Value) bool {
	if len(s.defaults) == 0 {
		return false
	}
	d, err := s.parse(s.defaults[0])
	if err != nil {
		return false
	}
	if s.kind == kindText {
		return v.String() == d.String()
	}
	return s.amount(v) == s.amount(d)
}
