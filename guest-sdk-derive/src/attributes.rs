//! The attributes of serde and of the derive that decide what is read.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, ExprLit, Lit, LitInt, LitStr, Meta, Result, Token};

/// How serde turns an identifier into a name.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

/// Attributes of a type.
#[derive(Default)]
pub(crate) struct Container {
    pub(crate) rename_all: Option<Case>,
    pub(crate) denies_unknown: bool,
    pub(crate) has_default: bool,
    pub(crate) is_transparent: bool,
    /// Read in a way that the attributes do not describe.
    pub(crate) is_opaque: bool,
}

/// Attributes of a field or variant.
#[derive(Default)]
pub(crate) struct Member {
    rename: Option<String>,
    aliases: Vec<String>,
    minimum: Option<LitInt>,
    maximum: Option<LitInt>,
    pub(crate) description: String,
    /// The first paragraph of the documentation has ended.
    is_described: bool,
    pub(crate) has_default: bool,
    pub(crate) is_skipped: bool,
    pub(crate) is_flat: bool,
    pub(crate) is_opaque: bool,
}

impl Container {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut container = Self::default();
        for attribute in attributes.iter().filter(|one| one.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename_all") {
                    if let Some(case) = deserialized(&meta)? {
                        container.rename_all = Some(Case::named(&case)?);
                    }
                } else if meta.path.is_ident("deny_unknown_fields") {
                    container.denies_unknown = true;
                } else if meta.path.is_ident("default") {
                    container.has_default = true;
                    skip(&meta)?;
                } else if meta.path.is_ident("transparent") {
                    container.is_transparent = true;
                } else {
                    let changes = ["tag", "untagged", "content", "from", "try_from", "remote"];
                    container.is_opaque |= changes.iter().any(|name| meta.path.is_ident(name));
                    skip(&meta)?;
                }
                Ok(())
            })?;
        }
        Ok(container)
    }
}

impl Member {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut member = Self::default();
        for attribute in attributes {
            if attribute.path().is_ident("doc") {
                member.describe(&attribute.meta);
            } else if attribute.path().is_ident("serde") {
                attribute.parse_nested_meta(|meta| member.serde(&meta))?;
            } else if attribute.path().is_ident("schema") {
                attribute.parse_nested_meta(|meta| {
                    if meta.path.is_ident("minimum") {
                        member.minimum = Some(meta.value()?.parse()?);
                    } else if meta.path.is_ident("maximum") {
                        member.maximum = Some(meta.value()?.parse()?);
                    } else {
                        return Err(meta.error("expected minimum or maximum"));
                    }
                    Ok(())
                })?;
            }
        }
        Ok(member)
    }

    fn serde(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let is = |names: &[&str]| names.iter().any(|name| meta.path.is_ident(name));
        if is(&["rename"]) {
            self.rename = deserialized(meta)?.map(|name| name.value());
        } else if is(&["alias"]) {
            let alias: LitStr = meta.value()?.parse()?;
            self.aliases.push(alias.value());
        } else {
            self.has_default |= is(&["default"]);
            self.is_skipped |= is(&["skip", "skip_deserializing"]);
            self.is_flat |= is(&["flatten"]);
            self.is_opaque |= is(&["with", "deserialize_with", "other", "untagged"]);
            skip(meta)?;
        }
        Ok(())
    }

    /// Adds a line of documentation, of the first paragraph.
    fn describe(&mut self, meta: &Meta) {
        let Meta::NameValue(pair) = meta else { return };
        let Expr::Lit(ExprLit {
            lit: Lit::Str(line),
            ..
        }) = &pair.value
        else {
            return;
        };
        let line = line.value();
        let line = line.trim();
        self.is_described |= line.is_empty() && !self.description.is_empty();
        if self.is_described || line.is_empty() {
            return;
        }
        if !self.description.is_empty() {
            self.description.push(' ');
        }
        self.description.push_str(line);
    }

    /// The schema within the bounds of the attributes.
    pub(crate) fn bounded(&self, schema: TokenStream) -> TokenStream {
        let bound = |bound: &Option<LitInt>| match bound {
            Some(bound) => quote!(Some(#bound)),
            None => quote!(None),
        };
        match (&self.minimum, &self.maximum) {
            (None, None) => schema,
            (minimum, maximum) => {
                let (minimum, maximum) = (bound(minimum), bound(maximum));
                quote!(&Json::Within { of: #schema, minimum: #minimum, maximum: #maximum })
            }
        }
    }

    /// The names of a field, its own first.
    pub(crate) fn names(&self, case: Option<Case>, ident: &str) -> Vec<String> {
        let ident = ident.trim_start_matches("r#");
        let renamed = || case.map_or_else(|| ident.to_owned(), |case| case.of_field(ident));
        let own = self.rename.clone().unwrap_or_else(renamed);
        std::iter::once(own).chain(self.aliases.clone()).collect()
    }

    /// The names of a variant, its own first.
    pub(crate) fn variant_names(&self, case: Option<Case>, ident: &str) -> Vec<String> {
        let renamed = || case.map_or_else(|| ident.to_owned(), |case| case.of_variant(ident));
        let own = self.rename.clone().unwrap_or_else(renamed);
        std::iter::once(own).chain(self.aliases.clone()).collect()
    }
}

/// The name that is read: `= "x"`, or `(deserialize = "x")`.
fn deserialized(meta: &ParseNestedMeta<'_>) -> Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        return meta.value()?.parse().map(Some);
    }
    let mut found = None;
    meta.parse_nested_meta(|inner| {
        let name: LitStr = inner.value()?.parse()?;
        if inner.path.is_ident("deserialize") {
            found = Some(name);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Skips the value of an attribute.
fn skip(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| skip(&inner))?;
    }
    Ok(())
}

impl Case {
    fn named(name: &LitStr) -> Result<Self> {
        Ok(match name.value().as_str() {
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "PascalCase" => Self::Pascal,
            "camelCase" => Self::Camel,
            "snake_case" => Self::Snake,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            "kebab-case" => Self::Kebab,
            "SCREAMING-KEBAB-CASE" => Self::ScreamingKebab,
            _ => return Err(syn::Error::new(name.span(), "serde has no such case")),
        })
    }

    /// The name of a field, whose identifier is in snake case.
    fn of_field(self, ident: &str) -> String {
        match self {
            Self::Lower | Self::Snake => ident.to_owned(),
            Self::Upper | Self::ScreamingSnake => ident.to_ascii_uppercase(),
            Self::Kebab => ident.replace('_', "-"),
            Self::ScreamingKebab => ident.to_ascii_uppercase().replace('_', "-"),
            Self::Pascal => ident.split('_').map(capital).collect(),
            Self::Camel => uncapital(&Self::Pascal.of_field(ident)),
        }
    }

    /// The name of a variant, whose identifier is in Pascal case.
    fn of_variant(self, ident: &str) -> String {
        match self {
            Self::Pascal => ident.to_owned(),
            Self::Lower => ident.to_ascii_lowercase(),
            Self::Upper => ident.to_ascii_uppercase(),
            Self::Camel => uncapital(ident),
            _ => {
                let mut snake = String::new();
                for (index, letter) in ident.char_indices() {
                    if index > 0 && letter.is_uppercase() {
                        snake.push('_');
                    }
                    snake.push(letter.to_ascii_lowercase());
                }
                self.of_field(&snake)
            }
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn uncapital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
