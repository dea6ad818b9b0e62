package advisory

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/plimsoll/plimsoll"
)

const importHint = "make the advisory file with: plimsoll db import FILE|DIR..."

// ErrNone says that there is no advisory file.
var ErrNone = errors.New("there is no advisory file")

// DB is an open advisory file, for any number of goroutines.
type DB struct {
	path               string
	db                 *sql.DB
	affected, advisory *sql.Stmt
	bodies             bodyReader
}

// Open opens the file at path for reading. The error is ErrNone when there is
// none; a damaged or foreign file, or one of another schema, is refused.
func Open(path string) (*DB, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, plimsoll.WithHint(fmt.Errorf("%w at %s", ErrNone, path), importHint)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the advisory file: %w", err)
	}
	err = checkHeader(f)
	f.Close()
	if err != nil {
		return nil, plimsoll.WithHint(fmt.Errorf("opening the advisory file %s: %w", path, err), importHint)
	}
	db := &DB{path: path}
	// immutable: no locks and no look at side files. It holds because files
	// are replaced, never changed.
	if db.db, err = sql.Open("sqlite", uri(path, "mode=ro&immutable=1")+"&_pragma=query_only(ON)&_pragma=cell_size_check(ON)"); err != nil {
		return nil, db.wrap(err)
	}
	db.db.SetMaxOpenConns(4)
	if db.affected, err = db.db.PrepareContext(context.Background(), `
		SELECT f.advisory, a.id, f.entry
		FROM package p JOIN affected f ON f.package = p.ref JOIN advisory a ON a.ref = f.advisory
		WHERE p.ecosystem = ? AND p.name = ? AND f.withdrawn = 0`); err == nil {
		db.advisory, err = db.db.PrepareContext(context.Background(), `SELECT body FROM advisory WHERE ref = ?`)
	}
	if err != nil {
		db.db.Close()
		return nil, db.wrap(err)
	}
	return db, nil
}

// checkHeader tells by the first 100 bytes whether f is an advisory file of
// this schema, and whole (sqlite.org/fileformat.html, "The Database Header").
func checkHeader(f *os.File) error {
	var header [100]byte
	if _, err := f.ReadAt(header[:], 0); err == io.EOF || !bytes.HasPrefix(header[:], []byte("SQLite format 3\x00")) {
		return errors.New("it is not an advisory file, or damaged")
	} else if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(header[68:]) != applicationID {
		return errors.New("it is a database of another program")
	}
	if v := binary.BigEndian.Uint32(header[60:]); v != Schema {
		return fmt.Errorf("it has schema %d, this program reads schema %d", v, Schema)
	}
	pageSize := int64(binary.BigEndian.Uint16(header[16:]))
	if pageSize == 1 {
		pageSize = 65536
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if want := pageSize * int64(binary.BigEndian.Uint32(header[28:])); info.Size() != want {
		return fmt.Errorf("it is damaged: %d bytes long instead of %d", info.Size(), want)
	}
	return nil
}

// uri is path as sqlite.org/uri.html wants it.
func uri(path, query string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), OmitHost: true, RawQuery: query}).String()
}

// Close closes the file.
func (db *DB) Close() error { return db.db.Close() }

// Path is the file's, as it was opened.
func (db *DB) Path() string { return db.path }

func (db *DB) wrap(err error) error {
	return plimsoll.WithHint(fmt.Errorf("reading the advisory file %s: %w", db.path, err), importHint)
}

// Affected is what advisories that are in force say about a package. Names may
// be in any spelling that the ecosystem takes; the ecosystem must be exact,
// with its suffix. The order is that in which advisories came into the file.
func (db *DB) Affected(ctx context.Context, ecosystem, pkg string) ([]Entry, error) {
	key := Key(ecosystem, pkg)
	rows, err := db.affected.QueryContext(ctx, ecosystem, key)
	if err != nil {
		return nil, db.wrap(err)
	}
	defer rows.Close()
	var entries []Entry
	for rows.Next() {
		var e Entry
		var data string
		if err := rows.Scan(&e.Ref, &e.ID, &data); err != nil {
			return nil, db.wrap(err)
		}
		list, err := decodeAffected(data, ecosystem, key)
		if err != nil {
			return nil, db.wrap(fmt.Errorf("%s in %s of %s: %w", e.ID, key, ecosystem, err))
		}
		for _, e.Affected = range list {
			entries = append(entries, e)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, db.wrap(err)
	}
	return entries, nil
}

// Advisory is the one that an Entry's Ref leads to, without its affected
// packages.
func (db *DB) Advisory(ctx context.Context, ref int64) (plimsoll.Advisory, error) {
	var body []byte
	if err := db.advisory.QueryRowContext(ctx, ref).Scan(&body); err != nil {
		return plimsoll.Advisory{}, db.wrap(err)
	}
	adv, err := db.bodies.decode(body)
	if err != nil {
		return plimsoll.Advisory{}, db.wrap(err)
	}
	return adv, nil
}

// Named are the advisories whose id, alias, upstream or related name it is,
// whole, withdrawn ones too, ordered by id. Details and references may have
// been cut, and package names are as Key gives them.
func (db *DB) Named(ctx context.Context, name string) ([]plimsoll.Advisory, error) {
	rows, err := db.db.QueryContext(ctx, `
		SELECT ref, packages, body FROM advisory WHERE id = ?1 OR ref IN (SELECT advisory FROM name WHERE name = ?1)
		ORDER BY id, feed`, name)
	if err != nil {
		return nil, db.wrap(err)
	}
	defer rows.Close()
	var all []plimsoll.Advisory
	var refs []int64
	var packages [][]byte
	for rows.Next() {
		var ref int64
		var pkgs, body []byte
		if err := rows.Scan(&ref, &pkgs, &body); err != nil {
			return nil, db.wrap(err)
		}
		adv, err := db.bodies.decode(body)
		if err != nil {
			return nil, db.wrap(err)
		}
		all, refs, packages = append(all, adv), append(refs, ref), append(packages, pkgs)
	}
	if err := rows.Err(); err != nil {
		return nil, db.wrap(err)
	}
	// Only now, with the rows closed: each look-up takes a connection, and
	// holding one while waiting for another could lock all callers up.
	for i := range all {
		if all[i].Affected, err = db.affectedOf(ctx, refs[i], packages[i]); err != nil {
			return nil, db.wrap(err)
		}
	}
	return all, nil
}

func (db *DB) affectedOf(ctx context.Context, ref int64, packages []byte) ([]plimsoll.Affected, error) {
	var all []plimsoll.Affected
	err := eachPackage(packages, func(pkg int64) error {
		var ecosystem, name, entry string
		row := db.db.QueryRowContext(ctx, `
			SELECT p.ecosystem, p.name, f.entry FROM affected f JOIN package p ON p.ref = f.package
			WHERE f.package = ? AND f.advisory = ?`, pkg, ref)
		if err := row.Scan(&ecosystem, &name, &entry); err != nil {
			return err
		}
		list, err := decodeAffected(entry, ecosystem, name)
		all = append(all, list...)
		return err
	})
	return all, err
}

// Covers says whether any advisory in force speaks of this exact ecosystem.
// Where none does, "no findings" means "not assessed".
func (db *DB) Covers(ctx context.Context, ecosystem string) (bool, error) {
	var covered bool
	err := db.db.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM package p JOIN affected f ON f.package = p.ref
		WHERE p.ecosystem = ? AND f.withdrawn = 0)`, ecosystem).Scan(&covered)
	if err != nil {
		return false, db.wrap(err)
	}
	return covered, nil
}

// Feeds are all sources that were imported, ordered by name and source.
func (db *DB) Feeds(ctx context.Context) ([]Feed, error) {
	rows, err := db.db.QueryContext(ctx, `SELECT body FROM feed ORDER BY name, source`)
	if err != nil {
		return nil, db.wrap(err)
	}
	defer rows.Close()
	var feeds []Feed
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, db.wrap(err)
		}
		var f Feed
		if err := json.Unmarshal(body, &f); err != nil {
			return nil, db.wrap(err)
		}
		feeds = append(feeds, f)
	}
	if err := rows.Err(); err != nil {
		return nil, db.wrap(err)
	}
	return feeds, nil
}
