//! From a path to the file in which what it names is defined.

use std::path::Path;

use crate::graph::Imports;
use crate::paths::{Crate, Module};

/// A re-export that leads to itself ends here.
const STEPS_MAX: usize = 32;

/// Adds what every module of a crate imports.
pub fn add_imports(crates: &[Crate], krate: &Crate, imports: &mut Imports) {
    for (at, module) in krate.modules.iter().enumerate() {
        for path in &module.paths {
            if let Some((file, name)) = find(crates, krate, at, path, 0) {
                imports.add(&module.file, file, name);
            }
        }
    }
}

/// The file that defines what a path names, as a module sees it, and the name there. `None`: it is of another crate.
fn find<'a>(
    crates: &'a [Crate],
    krate: &'a Crate,
    at: usize,
    path: &'a [String],
    steps: usize,
) -> Option<(&'a Path, &'a str)> {
    let (first, rest) = path.split_first()?;
    let module = &krate.modules[at];
    match first.as_str() {
        "crate" => walk(crates, krate, 0, rest, steps),
        "self" => walk(crates, krate, at, rest, steps),
        "super" => walk(crates, krate, module.parent?, rest, steps),
        name if is_here(module, name) => walk(crates, krate, at, path, steps),
        name => {
            let other = crates.iter().find(|other| other.name == name && other.name != krate.name);
            match other {
                Some(other) => walk(crates, other, 0, rest, steps),
                None => walk_globs(crates, krate, at, path, steps),
            }
        }
    }
}

/// Whether a module defines or binds a name itself. A binding to a path that begins with the same name is of a crate.
fn is_here(module: &Module, name: &str) -> bool {
    let binds =
        |(bound, path): &(String, Vec<String>)| bound == name && path.first().is_none_or(|to| to != name);
    module.children.contains_key(name) || module.items.contains(name) || module.names.iter().any(binds)
}

/// The same of a path whose first name is looked up in a module.
fn walk<'a>(
    crates: &'a [Crate],
    krate: &'a Crate,
    at: usize,
    path: &'a [String],
    steps: usize,
) -> Option<(&'a Path, &'a str)> {
    if steps > STEPS_MAX {
        return None;
    }
    let module = &krate.modules[at];
    let Some((first, rest)) = path.split_first() else {
        let name = module.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("?");
        return Some((&module.file, name));
    };
    if first == "super" {
        return walk(crates, krate, module.parent?, rest, steps + 1);
    }
    if let Some(child) = module.children.get(first) {
        return walk(crates, krate, *child, rest, steps + 1);
    }
    if module.items.contains(first) {
        return Some((&module.file, first));
    }
    if let Some((_, bound)) = module.names.iter().find(|(name, _)| name == first) {
        return follow(crates, krate, at, bound, rest, steps);
    }
    walk_globs(crates, krate, at, path, steps)
}

/// What a bound path and the rest behind it name.
fn follow<'a>(
    crates: &'a [Crate],
    krate: &'a Crate,
    at: usize,
    bound: &'a [String],
    rest: &'a [String],
    steps: usize,
) -> Option<(&'a Path, &'a str)> {
    if rest.is_empty() {
        return find(crates, krate, at, bound, steps + 1);
    }
    match module_of(crates, krate, at, bound, steps + 1) {
        Some((krate, at)) => walk(crates, krate, at, rest, steps + 1),
        // A type: what follows is of it.
        None => find(crates, krate, at, bound, steps + 1),
    }
}

/// What a module's `use …::*` bring.
fn walk_globs<'a>(
    crates: &'a [Crate],
    krate: &'a Crate,
    at: usize,
    path: &'a [String],
    steps: usize,
) -> Option<(&'a Path, &'a str)> {
    krate.modules[at].globs.iter().find_map(|glob| {
        let (krate, at) = module_of(crates, krate, at, glob, steps + 1)?;
        walk(crates, krate, at, path, steps + 1)
    })
}

/// The module that a path names.
fn module_of<'a>(
    crates: &'a [Crate],
    krate: &'a Crate,
    at: usize,
    path: &[String],
    steps: usize,
) -> Option<(&'a Crate, usize)> {
    if steps > STEPS_MAX {
        return None;
    }
    let (first, rest) = path.split_first()?;
    let module = &krate.modules[at];
    let (krate, mut at, mut rest) = match first.as_str() {
        "crate" => (krate, 0, rest),
        "self" => (krate, at, rest),
        "super" => (krate, module.parent?, rest),
        name if is_here(module, name) => (krate, at, path),
        name => (crates.iter().find(|other| other.name == name)?, 0, rest),
    };
    while let Some((first, behind)) = rest.split_first() {
        let module = &krate.modules[at];
        if first == "super" {
            at = module.parent?;
        } else if let Some(child) = module.children.get(first) {
            at = *child;
        } else {
            let (_, bound) = module.names.iter().find(|(name, _)| name == first)?;
            let (krate, at) = module_of(crates, krate, at, bound, steps + 1)?;
            if behind.is_empty() {
                return Some((krate, at));
            }
            let behind: Vec<_> = std::iter::once("self".into()).chain(behind.iter().cloned()).collect();
            return module_of(crates, krate, at, &behind, steps + 1);
        }
        rest = behind;
    }
    Some((krate, at))
}
