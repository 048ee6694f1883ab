package sidecar

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/pool"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

// poolService is the control plane. Its methods stand in files by what they are
// about: control_upstreams.go, control_connections.go, control_verbs.go,
// control_stats.go, control_events.go and control_config.go.
type poolService struct {
	warmpoolv1.UnimplementedPoolServiceServer
	log      *slog.Logger
	pool     *pool.Pool
	book     *book
	events   *hub
	recent   *recent
	health   *health
	settings *settings
	reloader *reloader
	sessions *sessions
	version  string
	started  time.Time
}

// newControlServer makes the server that may look into pools and change them. It
// shares no listener with the data server: whoever may send requests may not do
// that.
func newControlServer(cfg *warmpoolv1.Config, service *poolService, shake *handshake, h *health) *grpc.Server {
	s := grpc.NewServer(append(limits(cfg.GetGrpc()),
		grpc.Creds(shake),
		grpc.UnaryInterceptor(shake.callers.guardUnary),
		grpc.StreamInterceptor(shake.callers.guardStream),
	)...)
	warmpoolv1.RegisterPoolServiceServer(s, service)
	h.register(s, controlServices...)
	reflection.Register(s)
	return s
}

// refused is a gRPC error of the control plane, with an ErrorInfo whose reason is
// a word for programs.
func refused(code codes.Code, reason string, details []protoadapt.MessageV1, format string, args ...any) error {
	s := status.New(code, clip(fmt.Sprintf(format, args...), maxMessage))
	details = append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Domain: errorDomain, Reason: reason}}, details...)
	if with, err := s.WithDetails(details...); err == nil {
		s = with
	}
	return s.Err()
}

// The words of ErrorInfo.reason beside those of Reason.
const (
	reasonUnknownConnection = "UNKNOWN_CONNECTION"
	reasonAlreadyExists     = "ALREADY_EXISTS"
	reasonInvalid           = "INVALID"
	reasonEtagDiffers       = "ETAG_DIFFERS"
	reasonMode              = "UPSTREAM_STATE"
	reasonNoFile            = "NO_FILE"
	reasonDynamic           = "DYNAMIC_ORIGIN"
	reasonNotAllowed        = "NOT_ALLOWED"
)

// violations collects what is wrong with a request.
type violations []*errdetails.BadRequest_FieldViolation

func (v *violations) addf(field, format string, args ...any) {
	*v = append(*v, &errdetails.BadRequest_FieldViolation{Field: field, Description: clip(fmt.Sprintf(format, args...), maxMessage/4), Reason: reasonInvalid})
}

// maxViolations bounds what is listed: the error travels in a header.
const maxViolations = 16

// err is the error of all of them, or nil.
func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	texts := make([]string, 0, len(v))
	for _, one := range v {
		texts = append(texts, one.GetField()+": "+one.GetDescription())
	}
	if more := len(v) - maxViolations; more > 0 {
		v = v[:maxViolations]
		v.addf("", "and %d more", more)
	}
	return refused(codes.InvalidArgument, reasonInvalid, []protoadapt.MessageV1{&errdetails.BadRequest{FieldViolations: v}},
		"%s", strings.Join(texts, "; "))
}

// invalidConfig makes the problems of a configuration an error.
func invalidConfig(err error) error {
	problems, ok := errors.AsType[*config.Error](err)
	if !ok {
		return refused(codes.InvalidArgument, reasonInvalid, nil, "%v", err)
	}
	var v violations
	for _, p := range problems.Problems {
		v.addf(p.Path, "%s", problemText(p))
	}
	return v.err()
}

// problemText is a problem without its path.
func problemText(p config.Problem) string {
	if p.Line == 0 {
		return p.Text()
	}
	return fmt.Sprintf("line %d: %s", p.Line, p.Text())
}

// duration reads an optional duration of a request; unset is what it is then.
func (v *violations) duration(field string, d *durationpb.Duration, unset, least time.Duration) time.Duration {
	if d == nil {
		return unset
	}
	if err := d.CheckValid(); err != nil {
		v.addf(field, "is no valid duration: %v", err)
		return unset
	}
	if d.AsDuration() < least {
		v.addf(field, "is %s, must be at least %s", d.AsDuration(), least)
	}
	return d.AsDuration()
}

// upstream finds the upstream that a request names.
func (s *poolService) upstream(name string) (*entry, error) {
	if name == "" {
		var v violations
		v.addf("name", "is empty: name the upstream")
		return nil, v.err()
	}
	if e := s.book.get(name); e != nil {
		return e, nil
	}
	return nil, unknownUpstream(s.pool, name)
}

func unknownUpstream(p *pool.Pool, name string) error {
	text := "there is no such upstream"
	if _, err := p.Upstream(name); err != nil {
		if e, ok := errors.AsType[*pool.Error](err); ok {
			text = e.Detail
		}
	}
	return refused(codes.NotFound, pool.ReasonUnknownUpstream.String(), nil, "upstream %q: %s", clip(name, maxName), text)
}

// page is a request for a page of a list.
type page struct {
	size  int
	after string // what the page before ended with
}

// readPage checks a request for a page.
func readPage(size uint32, token string, byDefault, most uint32) (page, error) {
	var v violations
	if size > most {
		v.addf("page_size", "is %d, must be at most %d", size, most)
	}
	if size == 0 {
		size = byDefault
	}
	after, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		v.addf("page_token", "is no token of this service: take next_page_token of the page before")
	}
	return page{int(size), string(after)}, v.err()
}

func pageToken(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

// untilDraining is ctx, ended as well when the sidecar begins to drain, so that a
// call that waits does not hold that up.
func (s *poolService) untilDraining(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			p, changed := s.health.now()
			if p == draining {
				cancel(errDraining)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

var errDraining = errors.New("the sidecar is draining")

// stopped is the error of a call whose wait ended before what it waited for.
func stopped(ctx context.Context, err error, format string, args ...any) error {
	if mode, ok := errors.AsType[*pool.ModeError](err); ok {
		return refused(codes.FailedPrecondition, reasonMode, nil, "%v", mode)
	}
	what := fmt.Sprintf(format, args...)
	if errors.Is(context.Cause(ctx), errDraining) {
		return refused(codes.Unavailable, pool.ReasonDraining.String(), nil, "%s: %v", what, errDraining)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return refused(codes.DeadlineExceeded, pool.ReasonDeadlineExceeded.String(), nil, "%s: the call's deadline passed", what)
	}
	if errors.Is(err, context.Canceled) {
		return refused(codes.Canceled, pool.ReasonCancelled.String(), nil, "%s: the caller gave up", what)
	}
	return refused(codes.Internal, pool.ReasonInternal.String(), nil, "%s: %v", what, err)
}

// modes are the pool's modes as the API has them.
var modes = map[pool.Mode]warmpoolv1.UpstreamState{
	pool.ModeActive:   warmpoolv1.UpstreamState_UPSTREAM_STATE_ACTIVE,
	pool.ModePaused:   warmpoolv1.UpstreamState_UPSTREAM_STATE_PAUSED,
	pool.ModeDraining: warmpoolv1.UpstreamState_UPSTREAM_STATE_DRAINING,
	pool.ModeDrained:  warmpoolv1.UpstreamState_UPSTREAM_STATE_DRAINED,
	pool.ModeDeleting: warmpoolv1.UpstreamState_UPSTREAM_STATE_DELETING,
}

// among reports whether a list of names, of which an empty one stands for all,
// has the name.
func among(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }
