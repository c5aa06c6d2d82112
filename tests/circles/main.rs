//! No file imports itself by way of others.
//!
//! `paths` reads the files of a crate and the paths in them, `resolve` finds the file in which what a path names is
//! defined, `graph` finds the circles. An import through a re-export counts for the file that defines. Items under
//! `#[cfg(test)]` are not read. *Not here*: which folder may import which (`tidy`).

mod graph;
mod paths;
mod resolve;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use graph::Imports;
use paths::{Crate, Files};

/// The crates of the workspace that have modules, by the names that others use.
const CRATES: [(&str, &str); 3] =
    [("fanfare", "src/lib.rs"), ("fanfare_core", "src/core/lib.rs"), ("fanfare_bench", "bench/src/main.rs")];

/// Reads below the repository.
struct Disk(PathBuf);

impl Files for Disk {
    fn read(&self, path: &Path) -> Option<String> {
        std::fs::read_to_string(self.0.join(path)).ok()
    }
}

impl Files for BTreeMap<PathBuf, String> {
    fn read(&self, path: &Path) -> Option<String> {
        self.get(path).cloned()
    }
}

/// What the files of crates import of each other.
fn imports(files: &impl Files, roots: &[(&str, &str)]) -> Imports {
    let crates: Vec<_> =
        roots.iter().filter_map(|(name, root)| Crate::read(files, name, Path::new(root))).collect();
    assert!(!crates.is_empty(), "no crate was found");
    let mut imports = Imports::default();
    for krate in &crates {
        resolve::add_imports(&crates, krate, &mut imports);
    }
    imports
}

/// The room of a file: what stands directly in its crate's root folder, a folder with the file that has its name.
fn room(file: &Path) -> PathBuf {
    let (_, root) = CRATES.iter().find(|(_, root)| Path::new(root) == file).unwrap_or(&("", ""));
    if !root.is_empty() {
        return file.into();
    }
    let mut folders = CRATES.iter().filter_map(|(_, root)| Path::new(root).parent()).collect::<Vec<_>>();
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
    let folder = folders.iter().find(|folder| file.starts_with(folder)).expect("a file is of a crate");
    let below = file.strip_prefix(folder).expect("it is below");
    let first = below.components().next().expect("a file has a name");
    folder.join(first).with_extension("")
}

fn none_of(found: &[Vec<String>]) {
    let told: Vec<_> = found.iter().map(|edges| edges.join("\n")).collect();
    assert!(found.is_empty(), "{} circles:\n\n{}\n", found.len(), told.join("\n\n"));
}

#[test]
fn no_file_of_the_workspace_imports_itself_by_way_of_others() {
    none_of(&imports(&Disk(env!("CARGO_MANIFEST_DIR").into()), &CRATES).circles());
}

#[test]
fn no_room_of_the_workspace_imports_itself_by_way_of_others() {
    none_of(&imports(&Disk(env!("CARGO_MANIFEST_DIR").into()), &CRATES).between(room).circles());
}

/// Circles of a crate that is given as `(path, text)`.
fn planted(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let files: BTreeMap<_, _> = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
    imports(&files, &[("planted", "lib.rs")]).circles()
}

#[test]
fn a_circle_through_another_name_is_found() {
    let found = planted(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b as other; pub struct A; fn f() -> other::B { other::B }"),
        ("b.rs", "use super::a::{A as Renamed}; pub struct B; fn f(_: Renamed) {}"),
    ]);
    assert_eq!(found, [["a.rs -> b.rs: B, b", "b.rs -> a.rs: A"]]);
}

#[test]
fn a_circle_through_a_re_export_is_found() {
    let found = planted(&[
        ("lib.rs", "mod a; mod facade;"),
        ("a.rs", "use crate::facade::Thing; pub struct A;"),
        ("facade/mod.rs", "mod inner; pub use inner::*;"),
        ("facade/inner.rs", "pub struct Thing; fn f(_: crate::a::A) {}"),
    ]);
    assert_eq!(found, [["a.rs -> facade/inner.rs: Thing", "facade/inner.rs -> a.rs: A"]]);
}

#[test]
fn a_circle_through_super_is_found() {
    let found = planted(&[
        ("lib.rs", "mod parent;"),
        ("parent/mod.rs", "mod child; pub struct Parent { child: child::Child }"),
        ("parent/child.rs", "use super::Parent; pub struct Child;"),
    ]);
    assert_eq!(
        found,
        [["parent/child.rs -> parent/mod.rs: Parent", "parent/mod.rs -> parent/child.rs: Child"]]
    );
}

#[test]
fn a_circle_through_a_macro_and_a_long_way_is_found() {
    let found = planted(&[
        ("lib.rs", "mod a; mod b; mod c; use c::C;"),
        ("a.rs", "fn f() { println!(\"{}\", crate::b::number()); }\npub fn a() {}"),
        ("b.rs", "use crate::C; pub fn number() -> u8 { 1 }"),
        ("c.rs", "pub struct C; fn f() { super::a::a() }"),
    ]);
    assert_eq!(found, [["a.rs -> b.rs: number", "b.rs -> c.rs: C", "c.rs -> a.rs: a"]]);
}

#[test]
fn a_facade_a_test_and_a_name_of_another_crate_are_no_circle() {
    let found = planted(&[
        ("lib.rs", "mod a; mod facade;"),
        ("a.rs", "use crate::facade::Thing; pub struct A; #[cfg(test)] mod tests { use crate::facade::B; }"),
        ("facade/mod.rs", "mod inner; mod b; pub use self::{inner::Thing, b::B};"),
        ("facade/inner.rs", "use std::fmt; use serde::a; pub struct Thing;"),
        ("facade/b.rs", "use crate::a::A; pub struct B; #[cfg(test)] use super::inner::Thing;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
