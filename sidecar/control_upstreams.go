package sidecar

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// Bounds of a page of upstreams.
const (
	upstreamsPage     = 100
	upstreamsPageMost = 1000
)

func (s *poolService) ListUpstreams(_ context.Context, in *warmpoolv1.ListUpstreamsRequest) (*warmpoolv1.ListUpstreamsResponse, error) {
	page, err := readPage(in.GetPageSize(), in.GetPageToken(), upstreamsPage, upstreamsPageMost)
	if err != nil {
		return nil, err
	}
	out := &warmpoolv1.ListUpstreamsResponse{}
	for _, e := range s.book.list() {
		switch {
		case e.name() <= page.after && page.after != "":
		case len(out.GetUpstreams()) == page.size:
			out.NextPageToken = pageToken(out.GetUpstreams()[page.size-1].GetUpstream().GetName())
			return out, nil
		default:
			out.Upstreams = append(out.Upstreams, s.status(e))
		}
	}
	return out, nil
}

func (s *poolService) GetUpstream(_ context.Context, in *warmpoolv1.GetUpstreamRequest) (*warmpoolv1.GetUpstreamResponse, error) {
	for _, e := range s.book.list() { // those that are being deleted as well
		if e.name() == in.GetName() {
			return &warmpoolv1.GetUpstreamResponse{Upstream: s.status(e)}, nil
		}
	}
	e, err := s.upstream(in.GetName())
	if err != nil {
		return nil, err
	}
	return &warmpoolv1.GetUpstreamResponse{Upstream: s.status(e)}, nil
}

func (s *poolService) CreateUpstream(_ context.Context, in *warmpoolv1.CreateUpstreamRequest) (*warmpoolv1.CreateUpstreamResponse, error) {
	const source = warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_API
	p, err := s.book.prepare(orEmpty(in.GetUpstream()), source)
	if err != nil {
		return nil, invalidConfig(err)
	}
	s.book.changing.Lock()
	defer s.book.changing.Unlock()
	name := p.config.GetName()
	if s.book.get(name) != nil {
		return nil, refused(codes.AlreadyExists, reasonAlreadyExists, nil, "upstream %q exists already; UpdateUpstream changes it", name)
	}
	if in.GetValidateOnly() {
		return &warmpoolv1.CreateUpstreamResponse{Upstream: wouldBe(&entry{config: p.config, source: source, etag: etagOf(p.config)})}, nil
	}
	e, err := s.book.add(p, source)
	if err != nil {
		return nil, refused(codes.Unavailable, pool.ReasonDraining.String(), nil, "%v", err)
	}
	s.log.Info("upstream created", "upstream", name, "url", e.config.GetUrl())
	s.warn(e)
	return &warmpoolv1.CreateUpstreamResponse{Upstream: s.status(e)}, nil
}

func (s *poolService) UpdateUpstream(_ context.Context, in *warmpoolv1.UpdateUpstreamRequest) (*warmpoolv1.UpdateUpstreamResponse, error) {
	s.book.changing.Lock()
	defer s.book.changing.Unlock()
	change := orEmpty(in.GetUpstream())
	e, err := s.upstream(change.GetName())
	if err != nil {
		return nil, err
	}
	if err := checkEtag(e, in.GetEtag()); err != nil {
		return nil, err
	}
	if e.origin != nil {
		return nil, refused(codes.FailedPrecondition, reasonDynamic, nil, "upstream %q is there because a caller named it, and has the settings that "+
			"dynamic_origins in the file says; change those, or create an upstream of another name with this url", e.name())
	}
	next, err := config.Changed(e.config, change, in.GetUpdateMask().GetPaths())
	if err != nil {
		return nil, invalidConfig(err)
	}
	p, err := s.book.prepare(next, e.source)
	if err != nil {
		return nil, invalidConfig(err)
	}
	source := e.source
	changed := config.Changes(e.config, p.config)
	if source == warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE && len(changed) > 0 {
		source = warmpoolv1.UpstreamSource_UPSTREAM_SOURCE_FILE_CHANGED_BY_API
	}
	out := &warmpoolv1.UpdateUpstreamResponse{Changed: paths(changed)}
	if in.GetValidateOnly() {
		would := *e
		would.config, would.source, would.etag = p.config, source, etagOf(p.config)
		out.Upstream = wouldBe(&would)
		return out, nil
	}
	e, err = s.book.change(e, p, source, e.filed)
	if err != nil {
		return nil, refused(codes.Unavailable, pool.ReasonDraining.String(), nil, "%v", err)
	}
	if len(changed) > 0 {
		s.log.Info("upstream updated", "upstream", e.name(), "changed", out.GetChanged())
		s.warn(e)
	}
	out.Upstream = s.status(e)
	return out, nil
}

func (s *poolService) DeleteUpstream(ctx context.Context, in *warmpoolv1.DeleteUpstreamRequest) (*warmpoolv1.DeleteUpstreamResponse, error) {
	var v violations
	grace := v.duration("grace", in.GetGrace(), s.settings.grace(), 0)
	if err := v.err(); err != nil {
		return nil, err
	}
	s.book.changing.Lock()
	e, err := s.upstream(in.GetName())
	if err == nil {
		err = checkEtag(e, in.GetEtag())
	}
	if err != nil || in.GetValidateOnly() {
		s.book.changing.Unlock()
		return &warmpoolv1.DeleteUpstreamResponse{}, err
	}
	wait := s.book.remove(e)
	s.book.changing.Unlock()
	s.log.Info("upstream deleted", "upstream", e.name(), "grace", grace)

	cut := make(chan int, 1)
	whatever := context.WithoutCancel(ctx) // the deletion goes on, be the caller there or not
	go func() {
		within, cancel := context.WithTimeout(whatever, grace)
		defer cancel()
		cut <- wait(within)
	}()
	ctx, cancel := s.untilDraining(ctx)
	defer cancel()
	select {
	case n := <-cut:
		return &warmpoolv1.DeleteUpstreamResponse{Cancelled: uint64(n)}, nil
	case <-ctx.Done():
		return nil, stopped(ctx, ctx.Err(), "upstream %q is deleted, but requests are still under way on it", e.name())
	}
}

// warn says in the log what a policy that came by the API allows and is worth a word,
// as is said of the file's when it is read.
func (s *poolService) warn(e *entry) {
	for _, warning := range config.Warnings(e.config) {
		s.log.Warn("configuration", "upstream", e.name(), "warning", warning)
	}
}

func orEmpty(u *warmpoolv1.Upstream) *warmpoolv1.Upstream {
	if u == nil {
		return &warmpoolv1.Upstream{}
	}
	return u
}

func checkEtag(e *entry, etag string) error {
	if etag == "" || etag == e.etag {
		return nil
	}
	return refused(codes.Aborted, reasonEtagDiffers, nil,
		"upstream %q has changed since: its etag is %q now, the change was prepared on %q; look at it again", e.name(), e.etag, clip(etag, maxName))
}

func paths(changes []config.Change) []string {
	list := make([]string, len(changes))
	for i, c := range changes {
		list[i] = c.Path
	}
	slices.Sort(list)
	return list
}

// wouldBe describes an upstream that a call only checked.
func wouldBe(e *entry) *warmpoolv1.UpstreamStatus {
	st := &warmpoolv1.UpstreamStatus{Upstream: config.Hidden(e.config), Source: e.source, Etag: e.etag}
	if !e.created.IsZero() {
		st.CreateTime, st.UpdateTime = timestamppb.New(e.created), timestamppb.New(e.updated)
		st.State = modes[e.upstream.Mode()]
	}
	return st
}

// status describes an upstream.
func (s *poolService) status(e *entry) *warmpoolv1.UpstreamStatus {
	st := wouldBe(e)
	stats := e.upstream.Stats()
	st.Stats = upstreamStats(&stats)
	st.State = st.GetStats().GetState()
	return st
}
