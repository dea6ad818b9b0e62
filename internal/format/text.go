package format

import (
	"reflect"
	"strings"
	"unicode/utf8"
)

// Escape makes s fit for JSON without a loss. JSON text is Unicode, while a
// path in an image is any bytes; an encoder would put the same replacement
// character for all of them, and two files would become one. A byte that is
// not UTF-8 becomes \xHH, and a backslash that stands before an x becomes
// \x5c; everything else, control characters included, stays as it is, because
// JSON can carry it.
func Escape(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, `\x`) {
		return s
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || s[i] == '\\' && i+1 < len(s) && s[i+1] == 'x' {
			b.WriteString(`\x`)
			b.WriteByte(digits[s[i]>>4])
			b.WriteByte(digits[s[i]&15])
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// Unescape undoes Escape. What Escape did not write stays as it is.
func Unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			high, low := hexDigit(s[i+2]), hexDigit(s[i+3])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// EscapeAll returns v, anything made of structs, slices, maps and pointers,
// with Escape applied to every string in it. v itself is left alone; when no
// string needs it, which is nearly always, the result is v.
func EscapeAll[T any](v T) T { return mapped(v, Escape) }

// UnescapeAll undoes EscapeAll.
func UnescapeAll[T any](v T) T { return mapped(v, Unescape) }

func mapped[T any](v T, f func(string) string) T {
	return copied(reflect.ValueOf(&v).Elem(), f).Interface().(T)
}

// changes reports whether f would change any string in v. Unexported fields,
// such as those of time.Time, are left alone.
func changes(v reflect.Value, f func(string) string) bool {
	if !v.CanInterface() {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		return f(s) != s
	case reflect.Pointer:
		return !v.IsNil() && changes(v.Elem(), f)
	case reflect.Struct:
		for i := range v.NumField() {
			if changes(v.Field(i), f) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if changes(v.Index(i), f) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if changes(it.Key(), f) || changes(it.Value(), f) {
				return true
			}
		}
	}
	return false
}

// copied is v with f applied to every string: v itself, or a copy that shares
// what f leaves as it is.
func copied(v reflect.Value, f func(string) string) reflect.Value {
	if !changes(v, f) {
		return v
	}
	to := reflect.New(v.Type()).Elem()
	to.Set(v)
	switch v.Kind() {
	case reflect.String:
		to.SetString(f(v.String()))
	case reflect.Pointer:
		to.Set(reflect.New(v.Type().Elem()))
		to.Elem().Set(copied(v.Elem(), f))
	case reflect.Struct:
		for i := range v.NumField() {
			if changes(v.Field(i), f) {
				to.Field(i).Set(copied(v.Field(i), f))
			}
		}
	case reflect.Slice:
		to.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			to.Index(i).Set(copied(v.Index(i), f))
		}
	case reflect.Map:
		to.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for it := v.MapRange(); it.Next(); {
			to.SetMapIndex(copied(it.Key(), f), copied(it.Value(), f))
		}
	}
	return to
}
