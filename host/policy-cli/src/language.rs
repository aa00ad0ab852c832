//! The languages that projects can be written in.

use std::path::Path;

use clap::ValueEnum;

/// A language for policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust: the smallest and fastest modules, native tests
    Rust,
    /// JavaScript, interpreted by QuickJS inside the module
    #[value(name = "js", alias = "javascript")]
    JavaScript,
    /// Python, interpreted by CPython inside the module
    Python,
    /// C
    C,
}

impl Language {
    /// All languages.
    pub(crate) const ALL: [Self; 4] = [Self::Rust, Self::JavaScript, Self::Python, Self::C];

    /// The language's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
        }
    }

    /// The directory of the language's templates.
    pub(crate) fn templates(self) -> &'static str {
        match self {
            Self::Rust => "templates/rust",
            Self::JavaScript => "templates/javascript",
            Self::Python => "templates/python",
            Self::C => "templates/c",
        }
    }

    /// A file that every project in the language has.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::JavaScript => "package.json",
            Self::Python => "policy.py",
            Self::C => "policy.c",
        }
    }

    /// The language of the project in a directory.
    pub(crate) fn of(dir: &Path) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|language| dir.join(language.mark()).is_file())
    }
}
