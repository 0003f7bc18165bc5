package yaml

import (
	"reflect"
	"strconv"
	"strings"
)

// Scanner is a type that reads its own value, such as a range or a time of day. It is not asked about a key without a value.
type Scanner interface {
	ScanYAML(n *Node) error // an [*Error] with the node's line
}

// Decode fills in what into points to: structs by their yaml tags, slices, maps with text keys, texts, whole numbers,
// decimals, booleans, whatever is a [Scanner] and, for what the caller reads himself, *Node. A key without a field, a value of another kind and a
// number that does not fit are errors with their line. A key without a value leaves its field as it is. Errors are [*Error].
func (n *Node) Decode(into any) error { return n.decode(reflect.ValueOf(into).Elem()) }

func (n *Node) decode(to reflect.Value) error {
	if _, raw := to.Interface().(*Node); raw {
		to.Set(reflect.ValueOf(n))
		return nil
	}
	if n.Kind == Null {
		return nil
	}
	if s, ok := to.Addr().Interface().(Scanner); ok {
		return s.ScanYAML(n)
	}
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		return n.decode(to.Elem())
	case reflect.Struct:
		return n.decodeStruct(to)
	case reflect.Slice:
		return n.decodeSlice(to)
	case reflect.Map:
		return n.decodeMap(to)
	default:
		return n.decodeScalar(to)
	}
}

func (n *Node) want(kind Kind) error {
	if n.Kind != kind {
		return Faultf(n.Line, "%s was expected here, not %s", kind, n.Kind)
	}
	return nil
}

func (n *Node) decodeStruct(to reflect.Value) error {
	if err := n.want(Map); err != nil {
		return err
	}
	fields := map[string]int{}
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields[name] = i
		}
	}
	for _, e := range n.Entries {
		i, ok := fields[e.Key]
		if !ok {
			return Faultf(e.Line, "unknown key %q", e.Key)
		}
		if err := e.Value.decode(to.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) decodeSlice(to reflect.Value) error {
	if err := n.want(List); err != nil {
		return err
	}
	list := reflect.MakeSlice(to.Type(), len(n.Items), len(n.Items))
	for i, item := range n.Items {
		if err := item.decode(list.Index(i)); err != nil {
			return err
		}
	}
	to.Set(list)
	return nil
}

func (n *Node) decodeMap(to reflect.Value) error {
	if err := n.want(Map); err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(to.Type(), len(n.Entries))
	for _, e := range n.Entries {
		v := reflect.New(to.Type().Elem()).Elem()
		if err := e.Value.decode(v); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(e.Key).Convert(to.Type().Key()), v)
	}
	to.Set(m)
	return nil
}

func (n *Node) decodeScalar(to reflect.Value) error {
	switch {
	case to.Kind() == reflect.String:
		if err := n.want(String); err != nil {
			return err
		}
		to.SetString(n.Text)
	case to.Kind() == reflect.Bool:
		if err := n.want(Bool); err != nil {
			return err
		}
		to.SetBool(n.Text == "true")
	case to.CanInt():
		v, err := strconv.ParseInt(n.Text, 10, to.Type().Bits())
		if n.Kind != Number || err != nil {
			return Faultf(n.Line, "a whole number of %d bits was expected here", to.Type().Bits())
		}
		to.SetInt(v)
	case to.CanFloat():
		v, err := strconv.ParseFloat(n.Text, to.Type().Bits())
		if n.Kind != Number || err != nil {
			return Faultf(n.Line, "a number was expected here")
		}
		to.SetFloat(v)
	default:
		panic("yaml: cannot decode into " + to.Type().String())
	}
	return nil
}
