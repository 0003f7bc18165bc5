package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/querschott/querschott"
)

// schemas collects the named schemas of a document.
type schemas struct {
	named map[string]*Schema
	types map[string]reflect.Type
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
	jsonType = reflect.TypeFor[json.Marshaler]()
)

// words are types whose JSON is one of a few words, or a text of a known form.
func words(t reflect.Type) *Schema {
	switch t {
	case reflect.TypeFor[querschott.Code]():
		s := &Schema{Type: "string"}
		for _, r := range refusals {
			s.Enum = append(s.Enum, string(r.Code))
		}
		return s
	case reflect.TypeFor[querschott.Service]():
		s := &Schema{Type: "string"}
		for _, v := range querschott.Services() {
			s.Enum = append(s.Enum, string(v))
		}
		return s
	case reflect.TypeFor[querschott.DoorState]():
		s := &Schema{Type: "string"}
		for v := querschott.Hold; v <= querschott.Closed; v++ {
			s.Enum = append(s.Enum, v.String())
		}
		return s
	case reflect.TypeFor[querschott.IK]():
		return &Schema{Type: "string", Pattern: "^[0-9]{9}$"}
	case reflect.TypeFor[querschott.KVNR]():
		return &Schema{Type: "string", Pattern: "^[A-Z][0-9]{9}$"}
	case reflect.TypeFor[querschott.Compartment]():
		return &Schema{Type: "string", Pattern: "^[0-9]{9}/[a-z]+$"}
	case timeType:
		return &Schema{Type: "string", Format: "date-time"}
	case rawType:
		return &Schema{}
	}
	return nil
}

// of returns the schema of a type's JSON. A named struct becomes a component.
func (s *schemas) of(t reflect.Type) (*Schema, error) {
	if w := words(t); w != nil {
		return w, nil
	}
	if t.Kind() != reflect.Pointer && t.Implements(jsonType) {
		return nil, fmt.Errorf("type %s writes its JSON itself; say here what it is", t)
	}
	if t.Implements(textType) {
		return &Schema{Type: "string"}, nil
	}
	switch t.Kind() {
	case reflect.String:
		return &Schema{Type: "string"}, nil
	case reflect.Bool:
		return &Schema{Type: "boolean"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &Schema{Type: "integer"}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: "integer", Minimum: new(int)}, nil
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: "number"}, nil
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice, reflect.Array:
		items, err := s.of(t.Elem())
		return &Schema{Type: "array", Items: items}, err
	case reflect.Map:
		values, err := s.of(t.Elem())
		return &Schema{Type: "object", Additional: values}, err
	case reflect.Struct:
		return s.component(t)
	default: // what JSON cannot say
		return nil, fmt.Errorf("type %s has no schema", t)
	}
}

func (s *schemas) component(t reflect.Type) (*Schema, error) {
	name := t.Name()
	if name == "" {
		return s.object(t)
	}
	ref := &Schema{Ref: "#/components/schemas/" + name}
	if known, ok := s.types[name]; ok {
		if known != t {
			return nil, fmt.Errorf("two types are called %s", name)
		}
		return ref, nil
	}
	s.types[name] = t // before its fields: a type may contain itself
	object, err := s.object(t)
	s.named[name] = object
	return ref, err
}

func (s *schemas) object(t reflect.Type) (*Schema, error) {
	o := &Schema{Type: "object", Properties: map[string]*Schema{}}
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous || name == "" {
			return nil, fmt.Errorf("field %s of %s has no name in JSON", f.Name, t)
		}
		p, err := s.of(f.Type)
		if err != nil {
			return nil, err
		}
		if about := f.Tag.Get("doc"); about != "" {
			p.Description = about
		}
		o.Properties[name] = p
		if !strings.Contains(options, "omit") {
			o.Required = append(o.Required, name)
		}
	}
	return o, nil
}
