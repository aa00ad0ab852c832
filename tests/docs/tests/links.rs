//! Every relative link and anchor in the repository's Markdown files resolves, and the book's table
//! of contents lists every page. External links are not checked.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cnidaria_docs_tests::{ROOT, files};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Links and anchors of one file.
#[derive(Default)]
struct Page {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut repeated: BTreeMap<String, usize> = BTreeMap::new();
        let mut heading = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    let count = repeated.entry(slug.clone()).or_default();
                    page.anchors.insert(match *count {
                        0 => slug,
                        earlier => format!("{slug}-{earlier}"),
                    });
                    *count += 1;
                }
                _ => {}
            }
        }
        page
    }

    /// Reads a file, or the file that a page of the book includes.
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
        match included(path, &text) {
            Some(source) => Self {
                links: Vec::new(),
                ..Self::read(&source)
            },
            None => Self::parse(&text),
        }
    }
}

fn included(path: &Path, text: &str) -> Option<PathBuf> {
    let name = text.strip_prefix("{{#include ")?.split('}').next()?;
    Some(path.parent()?.join(name))
}

/// A heading's anchor, as GitHub generates it.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let lower = heading.to_lowercase();
    lower
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

/// What is wrong with a link in the file `path`, if anything.
fn wrong(path: &Path, page: &Page, link: &str) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    if file.is_empty() {
        return (!page.anchors.contains(anchor)).then_some("the file has no such heading");
    }
    let mut target = path.parent().unwrap().join(file);
    if file.starts_with('/') || !Path::new(ROOT).join(&target).exists() {
        return Some("no such file");
    }
    if Path::new(ROOT).join(&target).is_dir() {
        target.push("README.md");
    }
    let found = anchor.is_empty() || Page::read(&target).anchors.contains(anchor);
    (!found).then_some("the other file has no such heading")
}

fn markdown(directory: &str) -> Vec<PathBuf> {
    let mut found = files(Path::new(directory)).unwrap();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found
}

#[test]
fn links_and_anchors_exist() {
    let mut broken = Vec::new();
    for path in markdown("") {
        let page = Page::read(&path);
        for link in &page.links {
            if let Some(reason) = wrong(&path, &page, link) {
                broken.push(format!("{}: {link}: {reason}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn the_summary_names_every_page() {
    let named: BTreeSet<_> = Page::read(Path::new("docs/SUMMARY.md"))
        .links
        .into_iter()
        .map(|link| Path::new("docs").join(link))
        .collect();
    let mut pages: BTreeSet<_> = markdown("docs").into_iter().collect();
    pages.remove(Path::new("docs/SUMMARY.md"));
    assert_eq!(named, pages);
}

#[test]
fn broken_links_are_noticed() {
    let path = Path::new("docs/README.md");
    let page = Page::parse("# Two `words`, twice\n# Two words twice\n");
    let check = |link| wrong(path, &page, link).is_none();
    assert!(check("#two-words-twice") && check("#two-words-twice-1"));
    assert!(check("concepts.md#verbs") && check("../deploy") && check("https://example.com/#x"));
    assert!(check("configuration.md#metrics"));
    assert!(!check("#two-words-twice-2") && !check("concept.md") && !check("concepts.md#verb"));
}
