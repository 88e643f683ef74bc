//! The book: `docs/` made into pages for a browser by mdBook, and checked.
//!
//! Pages are read on a forge, too, so they link to files of the repository that are not part of the book. Such links
//! lead to the repository on the web here.

use crate::run::{BUILD, command, program, root, run, run_command, target};
use crate::{Outcome, setup};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

const REPOSITORY: &str = "https://github.com/shm2/shm2";
/// Installed when there is none. Only what the book needs of it; compiled without optimisation.
const INSTALL: &str = "cargo install mdbook --version 0.5.4 --locked --debug --no-default-features --features search";

/// Builds the book into `target/book` and checks it.
pub fn book() -> Outcome {
    let pages = files(&root().join("docs"), "md")?;
    listed(&pages)?;
    draw(Some("--check"))?;
    let place = target().join("book");
    // Of the last build; there may be none.
    let _ = fs::remove_dir_all(&place);
    let mut build = program(mdbook()?);
    build.arg("build").arg("--dest-dir").arg(&place);
    run_command(build, "mdbook build")?;
    let mut html = BTreeMap::new();
    for file in files(&place, "html")? {
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let text = outward(&place, &file, &text);
        fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
        html.insert(file, text);
    }
    let dead: Vec<_> = html.iter().flat_map(|(file, text)| dead(&place, file, text, &html)).collect();
    if !dead.is_empty() {
        return Err(format!("dead links in the book:\n  {}", dead.join("\n  ")));
    }
    println!("{} pages, no dead link: {}", pages.len() - 1, place.join("index.html").display());
    Ok(())
}

/// Draws the pictures of the pages again.
pub fn pictures() -> Outcome {
    draw(None)
}

fn draw(option: Option<&str>) -> Outcome {
    setup::setup()?;
    run(BUILD)?;
    let mut pictures = program(target().join("debug/shm2-pictures"));
    pictures.args(option);
    run_command(pictures, &format!("shm2-pictures {}", option.unwrap_or_default()))
}

/// The program mdbook: the one that is there, or one that is built below the build directory.
fn mdbook() -> Result<PathBuf, String> {
    let own = target().join("tools/bin/mdbook");
    // Its options and the anchors that it makes differ between versions.
    let found = command("mdbook --version").output();
    if found.is_ok_and(|output| output.stdout.starts_with(b"mdbook v0.5.")) {
        return Ok("mdbook".into());
    }
    if !own.exists() {
        let mut install = command(INSTALL);
        install.arg("--root").arg(target().join("tools"));
        install.env("CARGO_PROFILE_DEV_DEBUG", "0");
        run_command(install, "cargo install mdbook (some minutes, once)")?;
    }
    Ok(own)
}

/// Every page is in the table of contents.
fn listed(pages: &[PathBuf]) -> Outcome {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).map_err(|e| format!("docs/SUMMARY.md: {e}"))?;
    let name = |page: &PathBuf| page.strip_prefix(&docs).unwrap_or(page).display().to_string();
    let names = pages.iter().map(name).filter(|name| name != "SUMMARY.md");
    let missing: Vec<_> = names.filter(|name| !summary.contains(&format!("]({name})"))).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("not in docs/SUMMARY.md: {}", missing.join(", "))) }
}

/// All files below a folder whose names end in `extension`, sorted.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a page in which links to files outside the book lead to the repository on the web.
fn outward(place: &Path, file: &Path, text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, link)) = next_link(rest) {
        result.push_str(&rest[..start]);
        result.push_str(&on_the_web(place, file, link).unwrap_or_else(|| link.to_owned()));
        rest = &rest[start + link.len()..];
    }
    result + rest
}

/// The address on the web of a link that leads out of the book.
fn on_the_web(place: &Path, file: &Path, link: &str) -> Option<String> {
    let (path, anchor) = split(link)?;
    // As seen from the page's source, which is in `docs`.
    let page = Path::new("docs").join(file.strip_prefix(place).ok()?);
    let wanted = tidy(&page.parent()?.join(path))?;
    if wanted.starts_with("docs") {
        return None;
    }
    // mdbook has renamed pages.
    let source = [wanted.with_extension("md"), wanted.clone()].into_iter().find(|path| root().join(path).exists())?;
    let kind = if root().join(&source).is_dir() { "tree" } else { "blob" };
    Some(format!("{REPOSITORY}/{kind}/main/{}{anchor}", source.display()))
}

/// Where the next `href` or `src` of a text begins, and what it is.
fn next_link(text: &str) -> Option<(usize, &str)> {
    let starts = ["href=\"", "src=\""].into_iter().filter_map(|name| Some(text.find(name)? + name.len()));
    let start = starts.min()?;
    let length = text[start..].find('"')?;
    Some((start, &text[start..start + length]))
}

/// All links of a page.
fn links(mut text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    while let Some((start, link)) = next_link(text) {
        found.push(link);
        text = &text[start + link.len()..];
    }
    found
}

/// A link's path and its anchor with `#`, if it is a path.
fn split(link: &str) -> Option<(&str, &str)> {
    let is_other = link.contains("://") || ["mailto:", "data:", "javascript:"].iter().any(|s| link.starts_with(s));
    let (path, anchor) = link.split_at(link.find('#').unwrap_or(link.len()));
    (!is_other).then_some((path, anchor))
}

/// A relative path without `.` and `..`; `None` if it leads out of where it begins.
fn tidy(path: &Path) -> Option<PathBuf> {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => tidied.pop().then_some(())?,
            Component::Normal(part) => tidied.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(tidied)
}

/// Links of a page of the book that lead nowhere.
fn dead(place: &Path, file: &Path, text: &str, pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let page = file.strip_prefix(place).unwrap_or(file);
    let is_dead = |link: &&str| {
        let Some((path, anchor)) = split(link) else { return false };
        let wanted = if path.is_empty() { Some(page.to_owned()) } else { tidy(&page.with_file_name(path)) };
        let Some(wanted) = wanted.map(|wanted| place.join(wanted)) else { return true };
        let id = anchor.trim_start_matches('#');
        let has_anchor = |text: &String| id.is_empty() || text.contains(&format!("id=\"{id}\""));
        match pages.get(&wanted) {
            Some(text) => !has_anchor(text),
            None => !wanted.exists(),
        }
    };
    links(text).into_iter().filter(is_dead).map(|link| format!("{}: {link}", page.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_book_lead_to_the_repository() {
        let (place, file) = (Path::new("/book"), Path::new("/book/elements/shm2src.html"));
        let text = r#"<a href="../../README.html#rust">a</a><img src="../demo.svg"><a href="../../examples">b</a>"#;
        let expected = r##"<a href="https://github.com/shm2/shm2/blob/main/README.md#rust">a</a><img src="../demo.svg"><a href="https://github.com/shm2/shm2/tree/main/examples">b</a>"##;
        assert_eq!(outward(place, file, text), expected);
    }

    #[test]
    fn pages_and_anchors_that_do_not_exist_are_found() {
        let place = Path::new("/book");
        let page = |name: &str, text: &str| (place.join(name), text.to_owned());
        let first = r##"<h1 id="top"><a href="#top"><a href="b.html#x"><a href="b.html#y"><a href="c.html">
            <a href="https://example.org/"><a href="../README.md">"##;
        let pages = BTreeMap::from([page("a.html", first), page("b.html", r#"<h2 id="x">"#)]);
        let file = place.join("a.html");
        assert_eq!(dead(place, &file, first, &pages), ["a.html: b.html#y", "a.html: c.html", "a.html: ../README.md"]);
    }
}
