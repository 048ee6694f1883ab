package sidecar

import (
	"cmp"
	"context"
	"crypto/tls"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
)

// Bounds of a page of connections.
const (
	connectionsPage     = 1000
	connectionsPageMost = 10000
)

func (s *poolService) ListConnections(_ context.Context, in *warmpoolv1.ListConnectionsRequest) (*warmpoolv1.ListConnectionsResponse, error) {
	page, err := readPage(in.GetPageSize(), in.GetPageToken(), connectionsPage, connectionsPageMost)
	if err != nil {
		return nil, err
	}
	after, err := strconv.ParseUint(cmp.Or(page.after, "0"), 10, 64)
	if err != nil {
		var v violations
		v.addf("page_token", "is no token of this call: take next_page_token of the page before")
		return nil, v.err()
	}
	var entries []*entry
	for _, e := range s.book.list() {
		if in.GetUpstream() == "" || e.name() == in.GetUpstream() {
			entries = append(entries, e)
		}
	}
	if in.GetUpstream() != "" && len(entries) == 0 {
		return nil, unknownUpstream(s.pool, in.GetUpstream())
	}

	wants := func(state warmpoolv1.ConnectionState) bool {
		if len(in.GetStates()) == 0 {
			return state != warmpoolv1.ConnectionState_CONNECTION_STATE_CLOSED
		}
		return slices.Contains(in.GetStates(), state)
	}
	// The lists are taken in the order of a connection's life. One that goes on meanwhile is in two of them: the later state counts.
	latest := make(map[uint64]*warmpoolv1.Connection)
	add := func(c *warmpoolv1.Connection) {
		if c.GetId() > after {
			latest[c.GetId()] = c
		}
	}
	now := time.Now()
	for _, e := range entries {
		for _, c := range e.upstream.Dials() {
			add(connectionMessage(c, now))
		}
		for _, c := range e.upstream.Connections() {
			add(connectionMessage(c, now))
		}
	}
	for _, c := range s.recent.of(in.GetUpstream()) {
		add(endedMessage(c))
	}
	var all []*warmpoolv1.Connection
	for _, c := range latest {
		if wants(c.GetState()) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *warmpoolv1.Connection) int { return cmp.Compare(a.GetId(), b.GetId()) })
	out := &warmpoolv1.ListConnectionsResponse{Connections: all}
	if len(all) > page.size {
		out.Connections = all[:page.size]
		out.NextPageToken = pageToken(strconv.FormatUint(all[page.size-1].GetId(), 10))
	}
	return out, nil
}

func (s *poolService) CloseConnection(ctx context.Context, in *warmpoolv1.CloseConnectionRequest) (*warmpoolv1.CloseConnectionResponse, error) {
	id := in.GetConnectionId()
	if id == 0 {
		var v violations
		v.addf("connection_id", "is missing: ListConnections tells the ids")
		return nil, v.err()
	}
	ctx, cancel := s.untilDraining(ctx)
	defer cancel()
	s.log.Info("closing a connection", "connection", id, "force", in.GetForce())
	info, why, found, err := s.pool.CloseConnection(ctx, id, in.GetForce())
	if !found {
		return nil, refused(codes.NotFound, reasonUnknownConnection, nil, "there is no open connection %d", id)
	}
	if err != nil {
		return nil, stopped(ctx, err, "connection %d takes nothing new, but carries an exchange still; force closes it at once", id)
	}
	return &warmpoolv1.CloseConnectionResponse{Connection: endedMessage(ended{info, why, timestamppb.Now()})}, nil
}

var connectionStates = map[string]warmpoolv1.ConnectionState{
	"dialing":  warmpoolv1.ConnectionState_CONNECTION_STATE_DIALING,
	"idle":     warmpoolv1.ConnectionState_CONNECTION_STATE_IDLE,
	"active":   warmpoolv1.ConnectionState_CONNECTION_STATE_ACTIVE,
	"draining": warmpoolv1.ConnectionState_CONNECTION_STATE_DRAINING,
	"closed":   warmpoolv1.ConnectionState_CONNECTION_STATE_CLOSED,
}

var idleLimitSources = map[pool.IdleLimitSource]warmpoolv1.IdleLimitSource{
	pool.IdleByPolicy:  warmpoolv1.IdleLimitSource_IDLE_LIMIT_SOURCE_POLICY,
	pool.IdleAnnounced: warmpoolv1.IdleLimitSource_IDLE_LIMIT_SOURCE_ANNOUNCED,
	pool.IdleLearned:   warmpoolv1.IdleLimitSource_IDLE_LIMIT_SOURCE_LEARNED,
}

// connectionMessage describes a connection as it was at a moment.
func connectionMessage(c pool.ConnectionInfo, at time.Time) *warmpoolv1.Connection {
	m := &warmpoolv1.Connection{
		Id: c.ID, Upstream: c.Upstream, Endpoint: addressText(c.Endpoint), LocalAddress: addressText(c.Local),
		State: connectionStates[c.State], CreateTime: timestamppb.New(at.Add(-c.Dialing - c.Age - c.Connect - c.Handshake)),
		Age: spent(c.Age), Idle: spent(c.Idle), Exchanges: uint64(c.Exchanges), InFlight: uint32(c.InFlight),
		BytesSent: uint64(c.Sent), BytesReceived: uint64(c.Received),
		IdleLimit: spent(c.IdleLimit), IdleLimitSource: idleLimitSources[c.IdleLimitSource], LifetimeLeft: spent(c.LifetimeLeft),
		CloseReason: closeReasonTwin(c.Closing), CloseDetail: clip(c.CloseDetail, maxMessage),
	}
	if c.Connect > 0 {
		m.Handshake = &warmpoolv1.Handshake{Connect: spent(c.Connect), Tls: spent(c.Handshake)}
		if c.TLS.Version != 0 {
			m.Handshake.TlsVersion = strings.TrimPrefix(tls.VersionName(c.TLS.Version), "TLS ")
			m.Handshake.TlsCipherSuite = tls.CipherSuiteName(c.TLS.CipherSuite)
			m.Handshake.TlsResumed = c.TLS.Resumed
		}
	}
	if t := c.TCP; t.Known() {
		m.Tcp = &warmpoolv1.TcpFigures{
			SampleTime: timestamppb.New(at.Add(-t.Age)), Rtt: spent(t.RTT), RttDeviation: spent(t.RTTDeviation),
			RetransmissionTimeout: spent(t.RTO), CongestionWindowBytes: uint64(t.Window),
			EffectiveWindowBytes: uint64(t.EffectiveWindow), UnacknowledgedBytes: uint64(t.Unacked), Retransmits: t.Retransmits,
			DeliveryRate: t.DeliveryRate, LastSent: spent(t.LastSent), CongestionControl: t.Congestion,
		}
	}
	return m
}

// endedMessage describes a connection that is closed.
func endedMessage(c ended) *warmpoolv1.Connection {
	m := connectionMessage(c.ConnectionInfo, c.at.AsTime())
	m.State, m.CloseReason, m.CloseTime = warmpoolv1.ConnectionState_CONNECTION_STATE_CLOSED, closeReasonTwin(c.why), c.at
	m.Idle, m.IdleLimit, m.LifetimeLeft, m.InFlight = nil, nil, nil, 0
	m.IdleLimitSource = warmpoolv1.IdleLimitSource_IDLE_LIMIT_SOURCE_UNSPECIFIED
	return m
}
