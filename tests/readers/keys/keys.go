// Package keys finds what a document has and Go's types have not: Go's own decoder passes over it, or takes it
// for the field whose name differs in case only.
package keys

import (
	"encoding/json"
	"reflect"
	"strings"
)

// Strangers are the keys that the type of `into` has no field for, as `holder.key`, each with where it stands, the first in
// the order of names. The holder of what is in a list is the key of the list; that of the outermost is `root`.
func Strangers(document []byte, into any, root string) (map[string]string, error) {
	var tree any
	if err := json.Unmarshal(document, &tree); err != nil {
		return nil, err
	}
	found := map[string]string{}
	walk(tree, reflect.TypeOf(into), root, root, found)
	return found, nil
}

func walk(value any, kind reflect.Type, where, holder string, found map[string]string) {
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind.Kind() == reflect.Interface || reflect.PointerTo(kind).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return
	}
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			walk(element, kind.Elem(), where+"[]", holder, found)
		}
	case map[string]any:
		if kind.Kind() == reflect.Map {
			for key, inner := range value {
				walk(inner, kind.Elem(), where+"."+key, holder, found)
			}
			return
		}
		fields := fieldsOf(kind)
		for key, inner := range value {
			if field, known := fields[key]; known {
				walk(inner, field, where+"."+key, key, found)
			} else if first, known := found[holder+"."+key]; !known || where+"."+key < first {
				found[holder+"."+key] = where + "." + key
			}
		}
	}
}

// The fields of a struct by their keys, exactly as written.
func fieldsOf(kind reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for at := range kind.NumField() {
		field := kind.Field(at)
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && key == "":
			for key, inner := range fieldsOf(field.Type) {
				fields[key] = inner
			}
		case key == "":
			fields[field.Name] = field.Type
		case key != "-":
			fields[key] = field.Type
		}
	}
	return fields
}
