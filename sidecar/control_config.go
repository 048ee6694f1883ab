package sidecar

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	warmpoolv1 "github.com/warmpool-dev/warmpool/api/warmpool/v1"
	"github.com/warmpool-dev/warmpool/sidecar/config"
)

func (s *poolService) ReloadConfig(_ context.Context, in *warmpoolv1.ReloadConfigRequest) (*warmpoolv1.ReloadConfigResponse, error) {
	done, err := s.reloader.reload("ReloadConfig", in.GetValidateOnly())
	switch {
	case errors.Is(err, errNoFile):
		return nil, refused(codes.FailedPrecondition, reasonNoFile, nil, "%v", err)
	case err != nil:
		return nil, invalidConfig(err)
	}
	return &warmpoolv1.ReloadConfigResponse{
		Created: done.created, Updated: done.updated, Deleted: done.deleted, Changed: done.changed,
		PendingRestart: done.pending, Generation: done.generation,
	}, nil
}

func (s *poolService) GetConfig(context.Context, *warmpoolv1.GetConfigRequest) (*warmpoolv1.GetConfigResponse, error) {
	inForce := proto.CloneOf(s.settings.now.Load())
	for _, e := range s.book.list() {
		if e.origin == nil && s.book.get(e.name()) == e {
			inForce.Upstreams = append(inForce.Upstreams, e.config)
		}
	}
	return &warmpoolv1.GetConfigResponse{Config: config.Hidden(inForce), Status: s.reloader.status()}, nil
}

// status is where the configuration came from and how the last reload went.
func (r *reloader) status() *warmpoolv1.ConfigStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := &warmpoolv1.ConfigStatus{
		File: r.source.File, Generation: r.mu.generation,
		ApplyTime: timestamppb.New(r.mu.appliedAt), ReloadTime: timestamppb.New(r.mu.readAt),
		PendingRestart: slices.Clone(r.mu.pending),
	}
	for _, p := range r.mu.problems {
		st.Errors = append(st.Errors, &warmpoolv1.ConfigError{Path: p.Path, Message: problemText(p)})
	}
	return st
}
