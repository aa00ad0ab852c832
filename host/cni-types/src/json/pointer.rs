//! RFC 6901 JSON pointers.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// A pointer to one value of a document: `""` is the whole document, `/plugins/0/mtu` a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// The pointer to the whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a pointer in its string form.
    ///
    /// # Errors
    /// [`Error::Pointer`] when non-empty text does not start with `/`, or a `~` is not followed by
    /// `0` or `1`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refused = |reason| Error::Pointer {
            pointer: text.to_owned(),
            reason,
        };
        if text.is_empty() {
            return Ok(Self::root());
        }
        let rest = text
            .strip_prefix('/')
            .ok_or_else(|| refused("it must be empty or start with '/'"))?;
        let tokens = rest
            .split('/')
            .map(|token| unescape(token).ok_or_else(|| refused("'~' must be followed by 0 or 1")))
            .collect::<Result<_, _>>()?;
        Ok(Self { tokens })
    }

    /// The unescaped tokens, outermost first.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The pointer to the member or element `token` of this value.
    #[must_use]
    pub fn child(&self, token: impl Into<String>) -> Self {
        let mut tokens = self.tokens.clone();
        tokens.push(token.into());
        Self { tokens }
    }

    /// The pointer to the containing value; `None` for the whole document.
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.tokens.split_last()?;
        Some(Self {
            tokens: parent.to_vec(),
        })
    }

    /// Whether `other` is this value or inside it.
    pub fn contains(&self, other: &Self) -> bool {
        other.tokens.starts_with(&self.tokens)
    }
}

impl FromStr for Pointer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}
