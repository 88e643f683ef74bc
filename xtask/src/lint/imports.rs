//! Circles of imports between the files of a crate.
//!
//! A file imports another when a `use` names the other's module. What a module passes on by `pub use` counts as an import
//! of the file that defines it. Circles that are natural are named in [`NATURAL`]; any other fails.

use super::{Outcome, read, report};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Groups of files that may import each other, each with its reason.
const NATURAL: &[&[&str]] = &[
    // The contract speaks of the platform's types, which are the platform's own, and of mapped memory, which wraps one.
    &[
        "crates/shm2/src/backend/mod.rs",
        "crates/shm2/src/backend/contract.rs",
        "crates/shm2/src/backend/heap.rs",
        "crates/shm2/src/backend/linux/mod.rs",
        "crates/shm2/src/backend/windows/mod.rs",
        "crates/shm2/src/mapped.rs",
    ],
];

/// Module path, such as `["consumer", "frame"]`.
type Module = Vec<String>;

/// Checks each crate below `crates/`.
pub fn check(sources: &[PathBuf]) -> Outcome {
    let mut crates: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.starts_with("crates")) {
        let root: PathBuf = source.components().take(3).collect();
        if root.ends_with("src") {
            crates.entry(root).or_default().push(source.clone());
        }
    }
    let mut findings = Vec::new();
    for (root, files) in &crates {
        let graph = Graph::read(root, files)?;
        for circle in graph.circles() {
            let files: Vec<_> = circle.iter().map(|module| graph.path(module)).collect();
            if !NATURAL.iter().any(|group| files.iter().all(|file| group.contains(&file.as_str()))) {
                findings.push(graph.describe(&circle));
            }
        }
    }
    report("files that import each other", &findings)
}

struct File {
    path: PathBuf,
    /// What it uses, as paths of names.
    uses: Vec<Module>,
    /// Names that it passes on, and where they come from.
    exports: HashMap<String, Module>,
}

struct Graph(BTreeMap<Module, File>);

impl Graph {
    fn read(root: &Path, files: &[PathBuf]) -> Result<Self, String> {
        let mut graph = BTreeMap::new();
        for path in files {
            let module = module_of(root, path);
            let text = read(path)?;
            let (mut uses, mut exports) = (Vec::new(), HashMap::new());
            for (is_public, name) in imports(&text, &module) {
                match name.last().filter(|_| is_public) {
                    Some(last) => drop(exports.insert(last.clone(), name.clone())),
                    None => uses.push(name),
                }
            }
            graph.insert(module, File { path: path.clone(), uses, exports });
        }
        Ok(Self(graph))
    }

    /// The module that defines a name.
    fn resolve(&self, name: &[String], depth: usize) -> Option<&Module> {
        let (module, file) = (0..=name.len()).rev().find_map(|length| self.0.get_key_value(&name[..length]))?;
        let rest = name.get(module.len());
        match rest.and_then(|item| file.exports.get(item)).filter(|_| depth < 8) {
            Some(origin) => self.resolve(origin, depth + 1),
            None => Some(module),
        }
    }

    fn edges(&self, module: &Module) -> BTreeSet<&Module> {
        let targets = self.0[module].uses.iter().filter_map(|name| self.resolve(name, 0));
        targets.filter(|target| *target != module).collect()
    }

    /// Files that reach each other.
    fn circles(&self) -> Vec<Vec<&Module>> {
        let reach: BTreeMap<_, _> = self.0.keys().map(|module| (module, self.reachable(module))).collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.0.keys() {
            let circle: Vec<_> =
                self.0.keys().filter(|other| reach[module].contains(other) && reach[other].contains(module)).collect();
            if circle.len() > 1 && circle.iter().all(|member| seen.insert(*member)) {
                circles.push(circle);
            }
        }
        circles
    }

    fn path(&self, module: &Module) -> String {
        self.0[module].path.display().to_string()
    }

    /// Each file of a circle, with what it imports of the others.
    fn describe(&self, circle: &[&Module]) -> String {
        let line = |module: &&Module| {
            let imports: Vec<_> = self.edges(module).into_iter().filter(|target| circle.contains(target)).collect();
            let names: Vec<_> = imports.iter().map(|target| target.join("::")).collect();
            format!("{} imports {}", self.path(module), names.join(", "))
        };
        circle.iter().map(line).collect::<Vec<_>>().join("\n    ")
    }

    fn reachable<'a>(&'a self, from: &'a Module) -> BTreeSet<&'a Module> {
        let (mut found, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(module) = open.pop() {
            open.extend(self.edges(module).into_iter().filter(|target| found.insert(*target)));
        }
        found
    }
}

fn module_of(root: &Path, path: &Path) -> Module {
    let inner = path.strip_prefix(root).unwrap_or(path).with_extension("");
    let mut names: Module = inner.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// Names in the `use` items of a file, whether it passes them on, as paths from the crate's root.
fn imports(text: &str, module: &Module) -> Vec<(bool, Module)> {
    let mut names = Vec::new();
    // Tests may reach into everything.
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let text: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for item in text.split("use ").skip(1).zip(text.split("use ")) {
        let (rest, before) = item;
        let line = before.rsplit('\n').next().unwrap_or_default();
        // Inside a module within the file, `super` is the file itself.
        let is_inner = line.starts_with(' ') && rest.starts_with("super::");
        let line = line.trim();
        if is_inner || !(line.is_empty() || line.starts_with("pub")) {
            continue;
        }
        let Some((tree, _)) = rest.split_once(';') else { continue };
        let mut paths = Vec::new();
        expand("", &tree.replace(" as ", "=").split_whitespace().collect::<String>(), &mut paths);
        names.extend(paths.iter().filter_map(|path| Some((line.starts_with("pub"), absolute(path, module)?))));
    }
    names
}

/// `a::{b,c::d}` becomes `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{}", tree.split('=').next().unwrap_or(tree)));
        return;
    };
    let prefix = format!("{prefix}{head}");
    let (mut depth, mut start) = (0usize, 0);
    let group = group.strip_suffix('}').unwrap_or(group);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                if start < at {
                    expand(&prefix, &group[start..at], paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn absolute(path: &str, module: &Module) -> Option<Module> {
    let mut parts = path.split("::").filter(|part| *part != "self").peekable();
    let mut base = match *parts.peek()? {
        "crate" => {
            parts.next();
            Vec::new()
        }
        "super" => {
            let mut base = module.clone();
            while parts.peek() == Some(&"super") {
                base.pop();
                parts.next();
            }
            base
        }
        // A child module, or another crate: the latter resolves to nothing below this one.
        _ => module.clone(),
    };
    base.extend(parts.map(str::to_owned));
    Some(base)
}
