package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// kind is what a setting's value is, and so how it is written.
type kind uint8

const (
	kindText     kind = iota
	kindWhole         // a number in decimal digits
	kindSize          // bytes: a number in decimal digits, or one with a unit
	kindDecimal       // a number, possibly with a fraction
	kindDuration      // a number with a unit of time, or several
)

func (k kind) String() string {
	return [...]string{"text", "whole number", "size", "number", "duration"}[k]
}

// expects says how a value of the kind is written.
func (k kind) expects() string {
	return [...]string{
		"a text",
		"a whole number in decimal digits",
		`a whole number of bytes, or one with B, KiB, MiB, GiB, KB, MB or GB such as "64KiB"`,
		"a number",
		`a duration with its unit, such as "250ms", "55s" or "1h30m"`,
	}[k]
}

// parse reads a text in the setting's syntax. It does not look at bounds.
func (s *setting) parse(text string) (protoreflect.Value, error) {
	switch s.kind {
	case kindWhole, kindSize:
		digits, unit := text, uint64(1)
		if s.kind == kindSize {
			digits, unit = splitSize(text)
		}
		n, err := parseWhole(digits)
		switch {
		case errors.Is(err, strconv.ErrRange), n > math.MaxUint64/unit:
			return protoreflect.Value{}, s.outOfRange()
		case err != nil:
			return protoreflect.Value{}, s.malformed()
		}
		n *= unit
		if s.field.Kind() == protoreflect.Uint64Kind {
			return protoreflect.ValueOfUint64(n), nil
		}
		if n > math.MaxUint32 {
			return protoreflect.Value{}, s.outOfRange()
		}
		return protoreflect.ValueOfUint32(uint32(n)), nil
	case kindDecimal:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.ContainsAny(text, "xX_") {
			return protoreflect.Value{}, s.malformed()
		}
		return protoreflect.ValueOfFloat64(n), nil
	case kindDuration:
		d, err := time.ParseDuration(text)
		// "0" is a duration to Go. Here a unit is always asked for.
		if err != nil || !unicode.IsLetter(rune(text[len(text)-1])) {
			return protoreflect.Value{}, s.malformed()
		}
		return protoreflect.ValueOfMessage(durationpb.New(d).ProtoReflect()), nil
	case kindText:
	}
	return protoreflect.ValueOfString(text), nil
}

// parseWhole takes decimal digits only: no sign, no leading zero (octal to some
// readers, decimal to others), no separator, no exponent. -1 and the like are
// out of range rather than malformed.
func parseWhole(digits string) (uint64, error) {
	unsigned, negative := strings.CutPrefix(digits, "-")
	if unsigned == "" || len(unsigned) > 1 && unsigned[0] == '0' {
		return 0, strconv.ErrSyntax
	}
	for i := range len(unsigned) {
		if unsigned[i] < '0' || unsigned[i] > '9' {
			return 0, strconv.ErrSyntax
		}
	}
	if negative {
		return 0, strconv.ErrRange
	}
	return strconv.ParseUint(unsigned, 10, 64)
}

var sizeUnits = []struct {
	name  string
	bytes uint64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"B", 1},
}

func splitSize(text string) (digits string, unit uint64) {
	for _, u := range sizeUnits {
		if digits, ok := strings.CutSuffix(text, u.name); ok {
			return digits, u.bytes
		}
	}
	return text, 1
}

// judge reads a text and checks all that the option says of it.
func (s *setting) judge(text string) error {
	v, err := s.parse(text)
	if err != nil {
		return err
	}
	return s.check(v)
}

// check holds a value against the option's bounds, list of allowed values and
// format. The error says what is allowed, not what the value is.
func (s *setting) check(v protoreflect.Value) error {
	if s.kind != kindText {
		n := s.amount(v)
		if n == 0 && s.options.GetZero() != "" {
			return nil
		}
		if !(n >= s.min && n <= s.max) { // so written that NaN is refused
			return s.outOfRange()
		}
		return nil
	}
	text := v.String()
	if allowed := s.options.GetAllowed(); len(allowed) > 0 {
		if slices.Contains(allowed, text) {
			return nil
		}
		return fmt.Errorf("must be %s", alternatives(allowed))
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }); i >= 0 {
		return fmt.Errorf("must be valid UTF-8 without control characters; there is one at byte %d", i)
	}
	err := formats[s.options.GetFormat()](text)
	if err != nil && s.options.GetSecret() { // the error may quote a part of the value
		return fmt.Errorf("must be %s", forms[s.options.GetFormat()])
	}
	return err
}

// amount is a number's or duration's value on one scale; a duration's is
// nanoseconds.
func (s *setting) amount(v protoreflect.Value) float64 {
	switch s.kind {
	case kindWhole, kindSize:
		return float64(v.Uint())
	case kindDecimal:
		return v.Float()
	case kindDuration:
		d := asDuration(v)
		if d.CheckValid() != nil {
			return math.NaN()
		}
		return float64(d.GetSeconds())*1e9 + float64(d.GetNanos())
	case kindText:
	}
	return math.NaN()
}

func asDuration(v protoreflect.Value) *durationpb.Duration {
	if d, ok := v.Message().Interface().(*durationpb.Duration); ok {
		return d
	}
	d := new(durationpb.Duration)
	proto.Merge(d, v.Message().Interface())
	return d
}

func (s *setting) malformed() error {
	return fmt.Errorf("must be %s%s", s.kind.expects(), s.within(": "))
}

func (s *setting) outOfRange() error {
	if within := s.within(""); within != "" {
		return fmt.Errorf("must be %s", within)
	}
	if s.field.Kind() == protoreflect.Uint32Kind {
		return fmt.Errorf("must be 0 to %d", uint32(math.MaxUint32))
	}
	return fmt.Errorf("must be 0 to %d", uint64(math.MaxUint64))
}

// within words the setting's bounds after sep; empty when the option gives none.
func (s *setting) within(sep string) string {
	if !s.bounded {
		return ""
	}
	return sep + rangeText(s.options.GetMin(), s.options.GetMax(), s.options.GetZero(), s.kind == kindDuration)
}

// text writes a value as the file would. A secret's is "(set)".
func (s *setting) text(v protoreflect.Value) string {
	switch {
	case s.options.GetSecret():
		return hidden
	case s.kind == kindDuration:
		d := asDuration(v)
		if d.CheckValid() != nil {
			return fmt.Sprintf("%d s %d ns", d.GetSeconds(), d.GetNanos())
		}
		return durationText(d.AsDuration())
	case s.kind == kindSize:
		return sizeText(v.Uint())
	case s.kind == kindText:
		return quoted(redactURL(v.String()))
	}
	return fmt.Sprint(v.Interface())
}

// hidden stands for the value of a secret setting.
const hidden = "(set)"

// durationText is a duration without the zero minutes and seconds of
// time.Duration.String: "15m", not "15m0s".
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func sizeText(n uint64) string {
	for _, u := range []int{2, 1, 0} {
		if unit := sizeUnits[u]; n > 0 && n%unit.bytes == 0 {
			return strconv.FormatUint(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatUint(n, 10)
}

// quoted is a text in quotes, cut so that one wrong value cannot fill a screen.
func quoted(text string) string {
	const most = 100
	if len(text) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		return fmt.Sprintf("%q… (%d bytes)", text[:cut], len(text))
	}
	return strconv.Quote(text)
}

// alternatives words a choice: "a", "b" or "c".
func alternatives(choice []string) string {
	words := make([]string, len(choice))
	for i, c := range choice {
		words[i] = strconv.Quote(c)
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}
