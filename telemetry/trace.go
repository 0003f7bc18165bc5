package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/querschott/querschott"
)

// Traced reports whether a request is one of the share that is traced.
func (e *Export) Traced(request string) bool {
	return e.tracer != nil && sampled(traceID(request), e.cfg.Share)
}

// Trace makes spans of an access event whose request is traced ([querschott.Course]): one of the request, with the class of the
// request, when it came, when its answer began and how it ended, and one of each stage that it passed. Who called, for
// whom, from where and whose data it was is not in it (gemSpec_ZETA A_27260). The trace's id is the request's id, so that whoever
// was given an X-Request-Id finds the trace and nobody else can tell requests of one caller from others; only a hop in front
// that is trusted may say another.
//
// It is called with events of the stream, after the answer has gone, and never waits.
func (e *Export) Trace(a querschott.Access) {
	c := a.Course
	if e.tracer == nil || c == nil {
		return
	}
	own := traceID(a.RequestID)
	ctx := context.WithValue(context.Background(), idKey{}, chosen{own, c.Span})
	about, kind := attributes(a), trace.SpanKindServer
	if c.Part {
		kind = trace.SpanKindInternal
	}
	if foreign := trace.TraceID(c.Trace); foreign.IsValid() {
		own = foreign
		about = append(about, attribute.String("querschott.request", scrubID(a.RequestID)))
	}
	if parent := trace.SpanID(c.Parent); parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: own, SpanID: parent, TraceFlags: trace.FlagsSampled, Remote: !c.Part,
		}))
	}
	ctx, span := e.tracer.Start(ctx, name(a), trace.WithTimestamp(a.Time), trace.WithSpanKind(kind), trace.WithAttributes(about...))
	e.spans.made.Add(1)
	if a.Status >= 500 {
		span.SetStatus(codes.Error, "")
	}
	for _, s := range querschott.Stages() {
		e.stage(ctx, a.Time, c, s)
	}
	span.End(trace.WithTimestamp(a.Time.Add(time.Duration(max(a.Took, 0)) * time.Microsecond)))
}

// stage makes the span of one stage below that of the request.
func (e *Export) stage(ctx context.Context, came time.Time, c *querschott.Course, s querschott.Stage) {
	from, to, passed := c.Passed(s)
	if !passed {
		return
	}
	var id trace.SpanID
	if s == querschott.StageService {
		id = c.Service
	}
	_, span := e.tracer.Start(context.WithValue(ctx, idKey{}, chosen{span: id}), s.String(), trace.WithTimestamp(came.Add(from)))
	e.spans.made.Add(1)
	span.End(trace.WithTimestamp(came.Add(to)))
}

// Follow hands every event to all that look at them, until the channel is closed or the context ends.
func Follow(ctx context.Context, events <-chan querschott.Access, look ...func(querschott.Access)) {
	for {
		select {
		case <-ctx.Done():
			return
		case a, ok := <-events:
			if !ok {
				return
			}
			for _, fn := range look {
				fn(a)
			}
		}
	}
}

const maxName = 120

// name is the class of the request. A route has no variable part; what looks like one is taken out all the same.
func name(a querschott.Access) string {
	if a.Query == "" {
		return "request"
	}
	return scrub(a.Query, maxName)
}

func attributes(a querschott.Access) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, 8)
	word := func(key string, l Label, value string) {
		if value == "" {
			return
		}
		if !l.holds(value) {
			value = other
		}
		list = append(list, attribute.String(key, value))
	}
	method, _, _ := strings.Cut(a.Query, " ")
	if knownMethod(method) {
		list = append(list, attribute.String("http.request.method", method))
	}
	if a.Status != 0 {
		list = append(list, attribute.Int("http.response.status_code", a.Status))
	}
	word("querschott.service", LabelService, string(a.Service))
	word("querschott.outcome", LabelOutcome, a.Outcome)
	word("querschott.cause", LabelCause, a.Cause)
	word("querschott.action", LabelName, a.Action)
	return list
}

func knownMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// traceID returns the id of a request as the id of its trace, a random one if it is no UUID.
func traceID(request string) (id trace.TraceID) {
	b, err := hex.DecodeString(strings.ReplaceAll(request, "-", ""))
	if err == nil && len(b) == len(id) {
		copy(id[:], b)
	}
	if !id.IsValid() {
		_, _ = rand.Read(id[:]) // never fails
	}
	return id
}

// sampled decides by the last six octets, which are random in UUIDs of version 4 and 7: all gates decide the same.
func sampled(id trace.TraceID, share float64) bool {
	last := binary.BigEndian.Uint64(id[8:]) & (1<<48 - 1)
	return float64(last) < share*(1<<48)
}

// scrubID returns a request's id if it is a UUID, which names nobody.
func scrubID(request string) string {
	if b, err := hex.DecodeString(strings.ReplaceAll(request, "-", "")); err != nil || len(b) != 16 || len(request) != 36 {
		return other
	}
	return request
}

type idKey struct{}

// chosen are the ids that a span's maker has chosen; a span id of zeros is for nobody to know beforehand.
type chosen struct {
	trace trace.TraceID
	span  trace.SpanID
}

// ids gives a span the ids that its maker chose.
type ids struct{}

func (g ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	c, _ := ctx.Value(idKey{}).(chosen)
	return c.trace, g.NewSpanID(ctx, c.trace)
}

func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	c, _ := ctx.Value(idKey{}).(chosen)
	id := c.span
	for !id.IsValid() {
		_, _ = rand.Read(id[:]) // never fails
	}
	return id
}

func spanLimits() sdktrace.SpanLimits {
	return sdktrace.SpanLimits{AttributeValueLengthLimit: maxName, AttributeCountLimit: 16}
}
