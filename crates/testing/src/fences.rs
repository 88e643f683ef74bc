//! The fenced blocks of a page, by the rules of CommonMark; what those rules permit but a runner of pages could
//! misread is an error.

/// First words of info strings. Another one may be a block that should run and does not.
const KINDS: &[&str] = &[
    "sh", "console", "text", "rust", "c", "cpp", "python", "yaml", "toml", "json", "json5", "xml", "bat", "ini", "diff",
];
/// What may follow `sh,`: blocks that the shell of a page does not run.
const ELSEWHERE: &[&str] = &["ignore", "host", "guest"];

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line of the page with its first command.
    pub line: usize,
    /// Its lines, without the indentation that the fence has.
    pub text: String,
}

/// A fence that is open.
struct Fence<'a> {
    mark: char,
    length: usize,
    indent: usize,
    info: &'a str,
}

/// The `sh` blocks of a page. An error names the line of a fence that is not closed, or is none of the known kinds, or
/// stands where it is not looked for.
pub fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut open: Option<(Fence<'_>, Block)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        let Some((fence, block)) = &mut open else {
            if let Some(fence) = opening(line).map_err(|why| format!("line {number}: {why}"))? {
                open = Some((fence, Block { line: number + 1, text: String::new() }));
            }
            continue;
        };
        if indentation(line) < fence.indent && !line.trim().is_empty() {
            return Err(format!("line {number}: it begins left of the fence that it is in"));
        }
        if closes(fence, line) {
            found.extend((fence.info == "sh").then(|| block.clone()));
            open = None;
        } else {
            block.text += line.get(fence.indent..).unwrap_or_default();
            block.text.push('\n');
        }
    }
    match open {
        Some((_, block)) => Err(format!("line {}: the fence is not closed", block.line - 1)),
        None => Ok(found),
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The mark of a fence, how long it is, and what follows; `None` for other text.
fn fence(text: &str) -> Option<(char, usize, &str)> {
    let mark = text.chars().next().filter(|mark| "`~".contains(*mark))?;
    let rest = text.trim_start_matches(mark);
    let length = text.len() - rest.len();
    let rest = rest.trim();
    // With a backtick behind it, it is code within a line.
    (length >= 3 && (mark == '~' || !rest.contains('`'))).then_some((mark, length, rest))
}

fn opening(line: &str) -> Result<Option<Fence<'_>>, &'static str> {
    let text = line.trim_start();
    let Some((mark, length, info)) = fence(text) else {
        // Behind the mark of a quotation or of a list.
        let inner = text.trim_start_matches(|c: char| "->*+.) \t".contains(c) || c.is_ascii_digit());
        return if fence(inner).is_some() {
            Err("a fence in a quotation or behind the mark of a list")
        } else {
            Ok(None)
        };
    };
    let (kind, option) = info.split_once(',').map_or((info, None), |(kind, option)| (kind, Some(option)));
    let is_known = match option {
        Some(option) if kind == "sh" => ELSEWHERE.contains(&option),
        _ => KINDS.contains(&kind),
    };
    let indent = indentation(line);
    if is_known { Ok(Some(Fence { mark, length, indent, info })) } else { Err("a fence of no known kind") }
}

fn closes(open: &Fence<'_>, line: &str) -> bool {
    let is_near = indentation(line) < open.indent + 4;
    is_near
        && fence(line.trim_start())
            .is_some_and(|(mark, length, rest)| mark == open.mark && length >= open.length && rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    #[test]
    fn only_blocks_of_sh_are_found_with_their_lines() {
        let page =
            "a\n```sh\necho 1\n```\n```console\n$ no\n```\n- b\n  ```sh\n  echo 2\n  ```\n```sh,ignore\nno\n```\n";
        let found = [Block { line: 3, text: "echo 1\n".into() }, Block { line: 10, text: "echo 2\n".into() }];
        assert_eq!(blocks(page).unwrap(), found);
    }

    #[test]
    fn each_form_of_a_fence_is_seen() {
        let block = |line| vec![Block { line, text: "false\n".into() }];
        for page in
            ["~~~sh\nfalse\n~~~\n", "````sh\nfalse\n````\n", "``` sh\nfalse\n`````\n", "```sh\r\nfalse\r\n```\r\n"]
        {
            assert_eq!(blocks(page).unwrap(), block(2), "{page}");
        }
        // A longer fence, and one of the other kind, hold fences as text.
        assert_eq!(blocks("````text\n```sh\n````\n```sh\nfalse\n```\n").unwrap(), block(5));
        assert_eq!(blocks("~~~text\n```sh\n~~~\n```sh\nfalse\n```\n").unwrap(), block(5));
        assert_eq!(blocks("a ```sh in a line\n```code```\n").unwrap(), []);
    }

    #[test]
    fn what_would_not_run_is_an_error() {
        let close = "\nfalse\n```\n";
        for open in ["```bash", "```shell", "```sh -e", "```sh,igno", "```", "> ```sh", "- ```sh", "1. ~~~sh", ">> ~~~"]
        {
            assert!(blocks(&format!("{open}{close}")).unwrap_err().starts_with("line 1: a fence"), "{open}");
        }
        for (page, line) in [("```sh\nfalse\n", 1), ("```sh\ntrue\n```\n````sh\nfalse\n```\n", 4)] {
            assert_eq!(blocks(page).unwrap_err(), format!("line {line}: the fence is not closed"));
        }
        assert!(blocks("  ```sh\n  true\n```\nfalse\n```\n").unwrap_err().starts_with("line 3: it begins left"));
    }

    /// All pages of `docs/`.
    fn pages(folder: &Path) -> Vec<PathBuf> {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
        let markdown = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        markdown.chain(folders.iter().flat_map(|folder| pages(folder))).collect()
    }

    #[test]
    fn every_page_of_the_documentation_can_be_read() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("docs");
        let pages = pages(&docs);
        assert!(pages.len() > 20, "{pages:?}");
        for page in pages {
            let found = blocks(&fs::read_to_string(&page).unwrap());
            assert!(found.is_ok(), "{}: {found:?}", page.display());
        }
    }
}
