//! Imports between files, and the circles of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which file takes which names from which other.
#[derive(Default)]
pub struct Imports(BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>);

impl Imports {
    pub fn add(&mut self, from: &Path, to: &Path, name: &str) {
        if from != to {
            let names = self.0.entry(from.into()).or_default().entry(to.into()).or_default();
            names.insert(name.into());
        }
    }

    /// The same between rooms: what `room_of` says of each file.
    pub fn between(&self, room_of: impl Fn(&Path) -> PathBuf) -> Self {
        let mut rooms = Self::default();
        for (from, to, name) in self.edges() {
            rooms.add(
                &room_of(from),
                &room_of(to),
                &format!("{name} ({} -> {})", from.display(), to.display()),
            );
        }
        rooms
    }

    fn edges(&self) -> impl Iterator<Item = (&Path, &Path, &str)> {
        self.0.iter().flat_map(|(from, imports)| {
            imports.iter().flat_map(move |(to, names)| {
                names.iter().map(move |name| (from.as_path(), to.as_path(), name.as_str()))
            })
        })
    }

    /// Each circle as the edges within it: `from -> to: names`.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let reach: BTreeMap<_, _> = self.0.keys().map(|file| (file.as_path(), self.reach(file))).collect();
        let reaches = |from: &Path, to: &Path| reach.get(from).is_some_and(|set| set.contains(to));
        let mut told: BTreeSet<&Path> = BTreeSet::new();
        let mut circles = Vec::new();
        for file in self.0.keys().map(PathBuf::as_path) {
            if told.contains(file) || !reaches(file, file) {
                continue;
            }
            let members: BTreeSet<_> =
                reach[file].iter().copied().filter(|other| reaches(other, file)).collect();
            told.extend(&members);
            let edges = members.iter().flat_map(|from| {
                let within = self.0[*from].iter().filter(|(to, _)| members.contains(to.as_path()));
                within.map(|(to, names)| {
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    format!("{} -> {}: {}", from.display(), to.display(), names.join(", "))
                })
            });
            circles.push(edges.collect());
        }
        circles
    }

    /// Every file that one imports, directly or by way of others.
    fn reach<'a>(&'a self, from: &'a Path) -> BTreeSet<&'a Path> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            let next = self.0.get(file).into_iter().flat_map(BTreeMap::keys);
            open.extend(next.map(PathBuf::as_path).filter(|to| found.insert(*to)));
        }
        found
    }
}
