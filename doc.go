// Package plimsoll holds the nouns that every other package speaks in: what an
// image is made of (Image, Layer, File), what was found in it (Component, BOM,
// Gap), what the world knows (Advisory) and what follows from both (Finding).
//
// It does no I/O and imports the standard library only, so a type is declared
// once and every floor of the house can share it. docs/architecture.md is the
// map of the packages that do the work.
package plimsoll
