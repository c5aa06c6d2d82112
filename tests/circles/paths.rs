//! The modules of a crate, the names that they define and bind, and the paths in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Where files are read.
pub trait Files {
    fn read(&self, path: &Path) -> Option<String>;
}

/// A crate: its modules, the root first.
pub struct Crate {
    pub name: String,
    pub modules: Vec<Module>,
}

/// One module, in a file of its own or inline.
pub struct Module {
    pub file: PathBuf,
    pub parent: Option<usize>,
    pub children: BTreeMap<String, usize>,
    /// What it defines.
    pub items: BTreeSet<String>,
    /// What its `use` declarations bind: a name, or everything of a path.
    pub names: Vec<(String, Vec<String>)>,
    pub globs: Vec<Vec<String>>,
    /// Every path in it.
    pub paths: Vec<Vec<String>>,
}

impl Crate {
    /// `None`: there is no such file.
    pub fn read(files: &impl Files, name: &str, root: &Path) -> Option<Self> {
        let text = files.read(root)?;
        let mut krate = Self { name: name.into(), modules: Vec::new() };
        let items = parse(root, &text).items;
        krate.add(files, root, &folder(root), None, &items);
        Some(krate)
    }

    /// Adds a module with these items and all below it; `below` is where files of its children are.
    fn add(
        &mut self,
        files: &impl Files,
        file: &Path,
        below: &Path,
        parent: Option<usize>,
        items: &[syn::Item],
    ) -> usize {
        let index = self.modules.len();
        let mut reader = Reader::default();
        for item in items {
            reader.visit_item(item);
        }
        let Reader { items: defined, names, globs, paths, .. } = reader;
        let (file, children) = (file.to_path_buf(), BTreeMap::new());
        self.modules.push(Module { file, parent, children, items: defined, names, globs, paths });
        for item in items {
            let syn::Item::Mod(module) = item else { continue };
            if is_test(&module.attrs) {
                continue;
            }
            let name = module.ident.to_string();
            let child = if let Some((_, items)) = &module.content {
                let file = self.modules[index].file.clone();
                self.add(files, &file, &below.join(&name), Some(index), items)
            } else {
                let places = [below.join(format!("{name}.rs")), below.join(&name).join("mod.rs")];
                let found = places.iter().find_map(|path| Some((path, files.read(path)?)));
                let Some((path, text)) = found else {
                    panic!("no file for mod {name} of {}", below.display())
                };
                let items = parse(path, &text).items;
                self.add(files, path, &below.join(&name), Some(index), &items)
            };
            self.modules[index].children.insert(name, child);
        }
        index
    }
}

fn parse(path: &Path, text: &str) -> syn::File {
    syn::parse_file(text).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

fn folder(root: &Path) -> PathBuf {
    root.parent().unwrap_or(Path::new("")).to_path_buf()
}

/// Whether an item is there in tests only.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

/// Reads one module; what is in a child is the child's.
#[derive(Default)]
struct Reader {
    depth: usize,
    items: BTreeSet<String>,
    names: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
    paths: Vec<Vec<String>>,
}

impl Reader {
    fn bind(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| -> Vec<String> {
            let is_self = ident == "self" && !before.is_empty();
            before.iter().cloned().chain((!is_self).then(|| ident.to_string())).collect()
        };
        match tree {
            syn::UseTree::Path(path) => self.bind(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => {
                let path = with(&name.ident);
                self.names.push((path.last().cloned().unwrap_or_default(), path.clone()));
                self.paths.push(path);
            }
            syn::UseTree::Rename(rename) => {
                let path = with(&rename.ident);
                self.names.push((rename.rename.to_string(), path.clone()));
                self.paths.push(path);
            }
            syn::UseTree::Glob(_) => {
                self.globs.push(before.to_vec());
                self.paths.push(before.to_vec());
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.bind(before, tree);
                }
            }
        }
    }

    /// Paths in what a macro is given: `a::b`, as it stands there.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 => path.push(ident.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    self.end_path(std::mem::take(&mut path));
                    path.push(ident.to_string());
                }
                TokenTree::Group(group) => {
                    self.end_path(std::mem::take(&mut path));
                    self.read_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.end_path(std::mem::take(&mut path)),
            }
            colons = 0;
        }
        self.end_path(path);
    }

    fn end_path(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            self.paths.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = match item {
            syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            syn::Item::Impl(item) => (&item.attrs, None),
            syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Union(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Use(item) => (&item.attrs, None),
            _ => return,
        };
        if is_test(attributes) {
            return;
        }
        if self.depth == 0 {
            self.items.extend(name.map(ToString::to_string));
        }
        self.depth += 1;
        visit::visit_item(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.bind(&[], &item.tree);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.read_tokens(call.tokens.clone());
    }
}
