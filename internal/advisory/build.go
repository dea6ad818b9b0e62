package advisory

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	_ "modernc.org/sqlite"

	"github.com/plimsoll/plimsoll"
)

const schema = `
CREATE TABLE feed (
	ref    INTEGER PRIMARY KEY,
	name   TEXT NOT NULL,
	source TEXT NOT NULL,
	body   BLOB NOT NULL, -- JSON of Feed
	UNIQUE (name, source)
);
CREATE TABLE advisory (
	ref       INTEGER PRIMARY KEY,
	id        TEXT NOT NULL,
	feed      TEXT NOT NULL, -- feed.name; an id may come from several feeds
	modified  INTEGER NOT NULL, -- microseconds since 1970
	withdrawn INTEGER NOT NULL, -- 0 or 1
	sum       INTEGER NOT NULL, -- hash of body and affected: unchanged records are left alone
	packages  BLOB NOT NULL, -- uvarints: package.ref of its affected rows
	body      BLOB NOT NULL, -- plimsoll.Advisory without affected; see body.go
	UNIQUE (id, feed)
);
CREATE TABLE name ( -- whatever an advisory names, to find it by
	name     TEXT NOT NULL,
	advisory INTEGER NOT NULL,
	kind     INTEGER NOT NULL, -- 0 alias, 1 upstream, 2 related
	PRIMARY KEY (name, advisory, kind)
) WITHOUT ROWID;
CREATE TABLE package (
	ref       INTEGER PRIMARY KEY,
	ecosystem TEXT NOT NULL, -- with suffix: Debian:12
	name      TEXT NOT NULL, -- as Key gives it
	UNIQUE (ecosystem, name)
);
CREATE TABLE affected (
	package   INTEGER NOT NULL,
	advisory  INTEGER NOT NULL,
	withdrawn INTEGER NOT NULL, -- as in advisory
	entry     BLOB NOT NULL, -- see encode.go
	PRIMARY KEY (package, advisory)
) WITHOUT ROWID;`

const (
	// maxDetails bytes of an advisory's prose are kept.
	maxDetails = 1000
	// maxReferences of an advisory are kept, advisories and fixes first.
	maxReferences = 10
)

// Builder makes a new advisory file. It is for one goroutine. Nothing is seen
// of it until Commit; Abort, or a crash, leaves the file in place as it was.
type Builder struct {
	target string
	extend bool
	base   fs.FileInfo // of the file that was extended; nil for none
	temp   string
	db     *sql.DB
	tx     *sql.Tx
	now    time.Time

	find, insert, replace          *sql.Stmt
	addName, dropName              *sql.Stmt
	findPackage, addPackage        *sql.Stmt
	findEntry, addEntry, dropEntry *sql.Stmt
	addFeed                        *sql.Stmt
	packages                       map[packageKey]int64 // bounded cache of package.ref
	bodies                         *bodyWriter
	old                            bodyReader
}

type packageKey struct{ ecosystem, name string }

// Create begins a file that will take the place of the one at path, if any.
func Create(ctx context.Context, path string) (*Builder, error) { return begin(ctx, path, false) }

// Extend begins a file that holds what the one at path holds, and more. A file
// that does not exist is empty.
func Extend(ctx context.Context, path string) (*Builder, error) { return begin(ctx, path, true) }

func begin(ctx context.Context, path string, extend bool) (_ *Builder, err error) {
	// Its end must not undo the transaction behind our back: that is Abort's.
	ctx = context.WithoutCancel(ctx)
	b := &Builder{target: path, extend: extend, now: time.Now().UTC(), packages: map[packageKey]int64{}, bodies: newBodyWriter()}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the directory of the advisory file: %w", err)
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, fmt.Errorf("making a new advisory file: %w", err)
	}
	b.temp = temp.Name()
	defer func() {
		if err != nil {
			b.Abort()
		}
	}()
	if extend {
		err = b.copyBase(temp)
	}
	if err := cmp.Or(err, temp.Chmod(0o644), temp.Close()); err != nil {
		temp.Close()
		return nil, fmt.Errorf("making a new advisory file: %w", err)
	}
	// Durability comes from Commit: a half-written temporary file is rubbish.
	b.db, err = sql.Open("sqlite", uri(b.temp, "mode=rw")+
		"&_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=locking_mode(EXCLUSIVE)&_pragma=cache_size(-8192)&_pragma=cell_size_check(ON)")
	if err != nil {
		return nil, fmt.Errorf("making a new advisory file: %w", err)
	}
	b.db.SetMaxOpenConns(1)
	if b.base == nil {
		if _, err := b.db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d; %s", applicationID, Schema, schema)); err != nil {
			return nil, fmt.Errorf("making a new advisory file: %w", err)
		}
	}
	if b.tx, err = b.db.BeginTx(ctx, nil); err != nil {
		return nil, fmt.Errorf("making a new advisory file: %w", err)
	}
	// The end of the transaction closes them.
	prepare := func(text string) *sql.Stmt {
		if err != nil {
			return nil
		}
		var s *sql.Stmt
		s, err = b.tx.PrepareContext(ctx, text)
		return s
	}
	b.find = prepare(`SELECT ref, modified, sum, packages, body FROM advisory WHERE id=? AND feed=?`)
	b.insert = prepare(`INSERT INTO advisory (id, feed, modified, withdrawn, sum, packages, body) VALUES (?,?,?,?,?,?,?) RETURNING ref`)
	b.replace = prepare(`UPDATE advisory SET modified=?, withdrawn=?, sum=?, packages=?, body=? WHERE ref=?`)
	b.addName = prepare(`INSERT OR IGNORE INTO name (name, advisory, kind) VALUES (?,?,?)`)
	b.dropName = prepare(`DELETE FROM name WHERE name=? AND advisory=?`)
	b.findPackage = prepare(`SELECT ref FROM package WHERE ecosystem=? AND name=?`)
	b.addPackage = prepare(`INSERT INTO package (ecosystem, name) VALUES (?,?) RETURNING ref`)
	b.findEntry = prepare(`SELECT p.ecosystem, p.name, f.entry FROM affected f JOIN package p ON p.ref=f.package WHERE f.package=? AND f.advisory=?`)
	b.addFeed = prepare(`INSERT INTO feed (name, source, body) VALUES (?,?,?) ON CONFLICT DO UPDATE SET body=excluded.body`)
	b.addEntry = prepare(`INSERT INTO affected (package, advisory, withdrawn, entry) VALUES (?,?,?,?)`)
	b.dropEntry = prepare(`DELETE FROM affected WHERE package=? AND advisory=?`)
	if err != nil {
		return nil, fmt.Errorf("making a new advisory file: %w", err)
	}
	return b, nil
}

// copyBase copies the file in place into temp, if there is one.
func (b *Builder) copyBase(temp *os.File) error {
	f, err := os.Open(b.target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkHeader(f); err != nil {
		return plimsoll.WithHint(fmt.Errorf("the file in place cannot be extended: %w", err),
			"move "+b.target+" away and import all feeds again")
	}
	if b.base, err = f.Stat(); err != nil {
		return err
	}
	_, err = io.Copy(temp, f)
	return err
}

// AddFeed records how the import of one source went.
func (b *Builder) AddFeed(ctx context.Context, f Feed) error {
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("adding feed %s %s: %w", f.Name, f.Source, err)
	}
	if _, err := b.addFeed.ExecContext(ctx, f.Name, f.Source, body); err != nil {
		return fmt.Errorf("adding feed %s %s: %w", f.Name, f.Source, err)
	}
	return nil
}

// Add puts an advisory into the file and says whether it, or an equal one, is
// now there. Of two with the same id and feed the later modified stays. When
// both have the same date, what either says is affected is affected: zips that
// repeat a record may each hold a part of it. A date that cannot be right
// (before 1990, or in the future) decides nothing: then the one added last
// stays.
func (b *Builder) Add(ctx context.Context, adv *plimsoll.Advisory) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	// A statement takes microseconds; to watch for the end of ctx during each
	// would cost as much again.
	kept, err := b.add(context.WithoutCancel(ctx), adv)
	if err != nil {
		return false, fmt.Errorf("adding advisory %s: %w", adv.ID, err)
	}
	return kept, nil
}

func (b *Builder) add(ctx context.Context, adv *plimsoll.Advisory) (bool, error) {
	var old struct {
		ref, modified, sum int64
		packages, body     []byte
	}
	affected := adv.Affected
	modified := adv.Modified.UnixMicro()
	switch err := b.find.QueryRowContext(ctx, adv.ID, adv.Feed).Scan(&old.ref, &old.modified, &old.sum, &old.packages, &old.body); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return false, err
	case b.trusted(old.modified) && b.trusted(modified):
		if old.modified > modified {
			return false, nil
		}
		if old.modified == modified {
			if affected, err = b.union(ctx, affected, old.ref, old.packages); err != nil {
				return false, err
			}
		}
	}

	body, err := b.bodies.encode(adv)
	if err != nil {
		return false, err
	}
	groups := group(affected)
	sum := sumOf(body, groups)
	if old.ref != 0 && old.sum == sum {
		return true, nil
	}
	if old.ref != 0 {
		if err := b.dropRows(ctx, old.ref, old.packages, old.body); err != nil {
			return false, err
		}
	}
	packages := []byte{} // not nil, which would be NULL
	for i := range groups {
		if groups[i].ref, err = b.packageRef(ctx, groups[i].key); err != nil {
			return false, err
		}
		packages = binary.AppendUvarint(packages, uint64(groups[i].ref))
	}
	withdrawn := 0
	if !adv.Withdrawn.IsZero() {
		withdrawn = 1
	}
	ref := old.ref
	if ref == 0 {
		err = b.insert.QueryRowContext(ctx, adv.ID, adv.Feed, modified, withdrawn, sum, packages, body).Scan(&ref)
	} else {
		_, err = b.replace.ExecContext(ctx, modified, withdrawn, sum, packages, body, ref)
	}
	if err != nil {
		return false, err
	}
	for _, g := range groups {
		if _, err := b.addEntry.ExecContext(ctx, g.ref, ref, withdrawn, g.entry); err != nil {
			return false, err
		}
	}
	for kind, names := range [][]string{adv.Aliases, adv.Upstream, adv.Related} {
		for _, n := range names {
			if _, err := b.addName.ExecContext(ctx, n, ref, kind); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// trusted says whether a modification date can be right.
func (b *Builder) trusted(micros int64) bool {
	return micros >= time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() && micros <= b.now.Add(24*time.Hour).UnixMicro()
}

// packageGroup is all that one advisory says about one package.
type packageGroup struct {
	key      packageKey
	affected []plimsoll.Affected
	entry    []byte
	ref      int64
}

func group(affected []plimsoll.Affected) []packageGroup {
	var groups []packageGroup
	index := map[packageKey]int{}
	for _, a := range affected {
		key := packageKey{a.Ecosystem, Key(a.Ecosystem, a.Package)}
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, packageGroup{key: key})
		}
		groups[i].affected = append(groups[i].affected, a)
	}
	for i := range groups {
		groups[i].entry = encodeAffected(groups[i].affected)
	}
	return groups
}

func sumOf(body []byte, groups []packageGroup) int64 {
	h := fnv.New64a()
	h.Write(body)
	for _, g := range groups {
		fmt.Fprintf(h, "\x00%s\x00%s\x00", g.key.ecosystem, g.key.name)
		h.Write(g.entry)
	}
	return int64(h.Sum64())
}

// union adds to affected what the advisory in the file says beyond it.
func (b *Builder) union(ctx context.Context, affected []plimsoll.Affected, ref int64, packages []byte) ([]plimsoll.Affected, error) {
	have := map[string]bool{}
	identity := func(a plimsoll.Affected) string {
		return a.Ecosystem + "\x00" + Key(a.Ecosystem, a.Package) + "\x00" + string(encodeAffected([]plimsoll.Affected{a}))
	}
	for _, a := range affected {
		have[identity(a)] = true
	}
	all := slices.Clip(affected)
	err := eachPackage(packages, func(pkg int64) error {
		var ecosystem, name, entry string
		if err := b.findEntry.QueryRowContext(ctx, pkg, ref).Scan(&ecosystem, &name, &entry); err != nil {
			return err
		}
		old, err := decodeAffected(entry, ecosystem, name)
		if err != nil {
			return err
		}
		for _, a := range old {
			if !have[identity(a)] {
				all = append(all, a)
			}
		}
		return nil
	})
	return all, err
}

// dropRows removes what hangs on an advisory's row.
func (b *Builder) dropRows(ctx context.Context, ref int64, packages, body []byte) error {
	err := eachPackage(packages, func(pkg int64) error {
		_, err := b.dropEntry.ExecContext(ctx, pkg, ref)
		return err
	})
	if err != nil {
		return err
	}
	old, err := b.old.decode(body)
	if err != nil {
		return err
	}
	for _, name := range slices.Concat(old.Aliases, old.Upstream, old.Related) {
		if _, err := b.dropName.ExecContext(ctx, name, ref); err != nil {
			return err
		}
	}
	return nil
}

func eachPackage(packages []byte, do func(ref int64) error) error {
	for len(packages) > 0 {
		ref, n := binary.Uvarint(packages)
		if n <= 0 {
			return errEncoding
		}
		packages = packages[n:]
		if err := do(int64(ref)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) packageRef(ctx context.Context, key packageKey) (int64, error) {
	if ref, ok := b.packages[key]; ok {
		return ref, nil
	}
	var ref int64
	err := b.findPackage.QueryRowContext(ctx, key.ecosystem, key.name).Scan(&ref)
	if errors.Is(err, sql.ErrNoRows) {
		err = b.addPackage.QueryRowContext(ctx, key.ecosystem, key.name).Scan(&ref)
	}
	if err != nil {
		return 0, err
	}
	if len(b.packages) >= 1<<14 {
		clear(b.packages)
	}
	b.packages[key] = ref
	return ref, nil
}

// encode gives the advisory without its affected packages, cut to what
// reports show.
func (w *bodyWriter) encode(adv *plimsoll.Advisory) ([]byte, error) {
	short := *adv
	short.Affected = nil
	if len(short.Details) > maxDetails {
		end := maxDetails
		for end > 0 && !utf8.RuneStart(short.Details[end]) {
			end--
		}
		short.Details = strings.TrimSpace(short.Details[:end]) + "…"
	}
	if len(short.References) > maxReferences {
		short.References = slices.Clone(short.References)
		slices.SortStableFunc(short.References, func(a, b plimsoll.Reference) int {
			return cmp.Compare(referenceRank(a.Type), referenceRank(b.Type))
		})
		short.References = short.References[:maxReferences]
	}
	return w.pack(short)
}

func referenceRank(kind string) int {
	switch kind {
	case "ADVISORY":
		return 0
	case "FIX", "REPORT":
		return 1
	}
	return 2
}

// Commit puts the new file in the place of the old one: flushed to disk, then
// renamed, so that a reader sees either the one or the other, whole. It fails
// when the file that was extended has been replaced in the meantime.
func (b *Builder) Commit() (err error) {
	defer func() {
		if err != nil {
			b.Abort()
			err = fmt.Errorf("writing the advisory file %s: %w", b.target, err)
		}
	}()
	if err := b.tx.Commit(); err != nil {
		return err
	}
	if err := b.db.Close(); err != nil {
		return err
	}
	if err := syncPath(b.temp); err != nil {
		return err
	}
	if err := b.unchanged(); err != nil {
		return err
	}
	if err := os.Rename(b.temp, b.target); err != nil {
		return err
	}
	// The rename itself must survive a power cut. Not every file system can
	// flush a directory, and the file is whole either way.
	_ = syncPath(filepath.Dir(b.target))
	return nil
}

// unchanged says whether the file in place is still the one that was extended.
func (b *Builder) unchanged() error {
	if !b.extend {
		return nil
	}
	now, err := os.Stat(b.target)
	switch {
	case errors.Is(err, fs.ErrNotExist) && b.base == nil:
		return nil
	case err == nil && b.base != nil && os.SameFile(now, b.base) && now.ModTime().Equal(b.base.ModTime()):
		return nil
	}
	return plimsoll.WithHint(errors.New("another import replaced it in the meantime"), "run the import again")
}

// Abort throws the new file away. After Commit it does nothing.
func (b *Builder) Abort() {
	if b.tx != nil {
		_ = b.tx.Rollback()
	}
	if b.db != nil {
		_ = b.db.Close()
	}
	_ = os.Remove(b.temp)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return cmp.Or(f.Sync(), f.Close())
}
