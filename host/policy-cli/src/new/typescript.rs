//! TypeScript declarations of the WIT package, as componentize-qjs maps its types to JavaScript.

use std::fmt::Write as _;

use wit_bindgen_core::wit_parser::{
    Docs, Function, FunctionKind, Handle, Interface, InterfaceId, PackageId, Resolve, SourceMap,
    Type, TypeDef, TypeDefKind, TypeId, TypeOwner, WorldKey,
};

/// The world that exports every hook.
const WORLD: &str = "policy";

/// The text before the declarations of the package.
const HEAD: &str = "\
// The hooks, types and host functions of a policy, generated from wit/deps. A hook's type is
// import(\"cnidaria:policy/before-add@VERSION\").Hook, for example.

/** What a host function throws when it refuses; `payload` is the error in the WIT. */
interface Refused<E> extends Error {
  payload: E;
}
";

/// The declarations of a package, whose files are given with their names.
///
/// # Errors
/// Why the package is wrong.
pub(super) fn declarations<'t>(
    files: impl Iterator<Item = (&'t str, &'t str)>,
) -> Result<String, String> {
    let mut sources = SourceMap::default();
    for (name, text) in files {
        // The parser takes ordinary comments for documentation.
        let is_documented = |line: &&str| {
            let line = line.trim_start();
            !line.starts_with("//") || line.starts_with("///")
        };
        let lines: Vec<&str> = text.lines().filter(is_documented).collect();
        sources.push_str(name, lines.join("\n"));
    }
    let group = sources.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    let pushed = resolve.push_group(group);
    let package = pushed.map_err(|error| error.to_string())?;
    Ok(Declarations::of(&resolve, package))
}

struct Declarations<'r> {
    resolve: &'r Resolve,
    package: PackageId,
    text: String,
}

impl<'r> Declarations<'r> {
    fn of(resolve: &'r Resolve, package: PackageId) -> String {
        let mut declarations = Self {
            resolve,
            package,
            text: String::new(),
        };
        let Some(found) = resolve.packages.get(package) else {
            return String::new();
        };
        let version = found.name.version.as_ref().map(ToString::to_string);
        let version = version.unwrap_or_default();
        declarations.text = HEAD.replace("VERSION", &version);
        let world = found.worlds.get(WORLD);
        let world = world.and_then(|world| resolve.worlds.get(*world));
        let is_hook = |id: InterfaceId| {
            let mut exports = world.into_iter().flat_map(|world| world.exports.keys());
            exports.any(|key| matches!(key, WorldKey::Interface(found) if *found == id))
        };
        for (name, id) in &found.interfaces {
            if let Some(interface) = resolve.interfaces.get(*id) {
                declarations.interface(name, interface, is_hook(*id));
            }
        }
        declarations.text
    }

    /// The module of an interface.
    fn module(&self, name: &str) -> String {
        let package = self.resolve.packages.get(self.package);
        let package = package.map(|package| package.name.interface_id(name));
        package.unwrap_or_default()
    }

    fn line(&mut self, depth: usize, line: &str) {
        let indent = "  ".repeat(depth);
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{indent}{line}");
    }

    fn comment(&mut self, depth: usize, docs: &Docs, more: Option<String>) {
        let docs = docs.contents.as_deref().unwrap_or_default();
        let lines: Vec<&str> = docs.lines().chain(more.as_deref()).collect();
        match lines.as_slice() {
            [] => {}
            [line] => self.line(depth, &format!("/** {line} */")),
            lines => {
                self.line(depth, "/**");
                for line in lines {
                    self.line(depth, format!(" * {line}").trim_end());
                }
                self.line(depth, " */");
            }
        }
    }

    fn interface(&mut self, name: &str, interface: &Interface, is_hook: bool) {
        self.text.push('\n');
        self.comment(0, &interface.docs, None);
        let module = self.module(name);
        self.line(0, &format!("declare module {module:?} {{"));
        for (name, id) in &interface.types {
            self.type_(name, *id, interface);
        }
        let functions = interface.functions.values();
        let free: Vec<&Function> = functions
            .filter(|function| function.kind == FunctionKind::Freestanding)
            .collect();
        if is_hook {
            self.line(1, "export interface Hook {");
            for function in free {
                self.function(2, function, is_hook);
            }
            self.line(1, "}");
        } else {
            for function in free {
                self.function(1, function, is_hook);
            }
        }
        self.line(0, "}");
    }

    fn type_(&mut self, name: &str, id: TypeId, interface: &Interface) {
        let resolve = self.resolve;
        let Some(definition) = resolve.types.get(id) else {
            return;
        };
        let pascal = pascal(name);
        if let Some(from) = self.used(definition) {
            let module = self.module(&from);
            self.line(1, &format!("import {{ {pascal} }} from {module:?};"));
            return;
        }
        self.comment(1, &definition.docs, None);
        match &definition.kind {
            TypeDefKind::Record(record) => {
                self.line(1, &format!("export interface {pascal} {{"));
                for field in &record.fields {
                    self.comment(2, &field.docs, None);
                    let optional = if self.is_option(&field.ty) { "?" } else { "" };
                    let line = format!(
                        "{}{optional}: {};",
                        camel(&field.name),
                        self.shown(&field.ty)
                    );
                    self.line(2, &line);
                }
                self.line(1, "}");
            }
            TypeDefKind::Resource => {
                self.line(1, &format!("export interface {pascal} {{"));
                let functions = interface.functions.values();
                for function in
                    functions.filter(|function| function.kind == FunctionKind::Method(id))
                {
                    self.function(2, function, false);
                }
                self.line(1, "}");
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| match &case.ty {
                    Some(ty) => format!("{{ tag: {:?}; val: {} }}", case.name, self.shown(ty)),
                    None => format!("{{ tag: {:?} }}", case.name),
                });
                let cases: Vec<String> = cases.collect();
                self.line(1, &format!("export type {pascal} = {};", cases.join(" | ")));
            }
            TypeDefKind::Enum(of) => {
                let cases = of.cases.iter().map(|case| format!("{:?}", case.name));
                let cases: Vec<String> = cases.collect();
                self.line(1, &format!("export type {pascal} = {};", cases.join(" | ")));
            }
            _ => {
                let of = self.structure(definition);
                self.line(1, &format!("export type {pascal} = {of};"));
            }
        }
    }

    /// The interface that a type was taken from by `use`.
    fn used(&self, definition: &TypeDef) -> Option<String> {
        let TypeDefKind::Type(Type::Id(original)) = definition.kind else {
            return None;
        };
        let original = self.resolve.types.get(original)?;
        let TypeOwner::Interface(owner) = original.owner else {
            return None;
        };
        self.resolve.interfaces.get(owner)?.name.clone()
    }

    fn function(&mut self, depth: usize, function: &Function, is_hook: bool) {
        let (returns, error) = self.returns(function.result.as_ref());
        let thrown = error.map(|error| match is_hook {
            true => format!("@throws {{{error}}}"),
            false => format!("@throws {{Refused<{error}>}}"),
        });
        self.comment(depth, &function.docs, thrown);
        let is_method = matches!(function.kind, FunctionKind::Method(_));
        let params = function.params.iter().skip(usize::from(is_method));
        let params: Vec<_> = params.collect();
        let mut shown: Vec<String> = Vec::new();
        for (index, param) in params.iter().enumerate() {
            // Only what stands at the end can be left out.
            let mut rest = params.iter().skip(index);
            let optional = if rest.all(|param| self.is_option(&param.ty)) {
                "?"
            } else {
                ""
            };
            shown.push(format!(
                "{}{optional}: {}",
                parameter(&param.name),
                self.shown(&param.ty)
            ));
        }
        let keyword = if is_hook || is_method {
            ""
        } else {
            "export function "
        };
        let name = camel(function.item_name());
        self.line(
            depth,
            &format!("{keyword}{name}({}): {returns};", shown.join(", ")),
        );
    }

    /// What a function returns, and what it throws.
    fn returns(&self, result: Option<&Type>) -> (String, Option<String>) {
        let Some(result) = result else {
            return ("void".to_owned(), None);
        };
        if let Type::Id(id) = result
            && let Some(TypeDefKind::Result(of)) = self.resolve.types.get(*id).map(|of| &of.kind)
        {
            let of_type = |ty: &Option<Type>| ty.as_ref().map(|ty| self.shown(ty));
            let ok = of_type(&of.ok).unwrap_or_else(|| "void".to_owned());
            let error = of_type(&of.err).unwrap_or_else(|| "undefined".to_owned());
            return (ok, Some(error));
        }
        (self.shown(result), None)
    }

    fn is_option(&self, ty: &Type) -> bool {
        let Type::Id(id) = ty else { return false };
        let definition = self.resolve.types.get(*id);
        definition.is_some_and(|of| matches!(of.kind, TypeDefKind::Option(_)))
    }

    /// A type by name or structure.
    fn shown(&self, ty: &Type) -> String {
        match ty {
            Type::Bool => "boolean".to_owned(),
            Type::Char | Type::String => "string".to_owned(),
            Type::Id(id) => match self.resolve.types.get(*id) {
                Some(TypeDef {
                    name: Some(name), ..
                }) => pascal(name),
                Some(definition) => self.structure(definition),
                None => "unknown".to_owned(),
            },
            // All numbers, those of 64 bits too.
            _ => "number".to_owned(),
        }
    }

    fn structure(&self, definition: &TypeDef) -> String {
        match &definition.kind {
            TypeDefKind::Option(ty) => format!("{} | null", self.shown(ty)),
            TypeDefKind::List(Type::U8) => "Uint8Array".to_owned(),
            TypeDefKind::List(ty) => match self.is_option(ty) {
                true => format!("({})[]", self.shown(ty)),
                false => format!("{}[]", self.shown(ty)),
            },
            TypeDefKind::Tuple(tuple) => {
                let types: Vec<String> = tuple.types.iter().map(|ty| self.shown(ty)).collect();
                format!("[{}]", types.join(", "))
            }
            TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => self.shown(&Type::Id(*id)),
            TypeDefKind::Type(ty) => self.shown(ty),
            // The package has no others.
            _ => "unknown".to_owned(),
        }
    }
}

fn pascal(name: &str) -> String {
    name.split('-').map(capitalized).collect()
}

fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &capitalized(word))
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

/// A parameter's name, which must not be a keyword.
fn parameter(name: &str) -> String {
    match name {
        "new" | "default" | "delete" | "in" | "function" | "var" | "with" => format!("{name}_"),
        name => camel(name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const WIT: &str = r"// Not documentation.
package a:b@1.0.0;
/// Types.
interface types {
  /// A kind.
  enum some-kind { one, more-than-one }
  record info { if-name: string, count: option<u64>, all: list<tuple<string, u8>> }
  variant verdict { accept, deny(info) }
  resource thing {
    /// The info.
    get-info: func(deep: bool) -> option<info>;
    set: func(new: list<u8>, kind: option<some-kind>) -> result<_, info>;
  }
}
interface log { log: func(text: string); }
interface before { use types.{thing, verdict}; before: func(one: thing) -> verdict; }
interface check { check: func() -> result<_, string>; }
world policy { import types; import log; export before; export check; }
";

    #[test]
    fn declarations_follow_the_wit() {
        let text = declarations([("a.wit", WIT)].into_iter()).unwrap();
        let expected = r#"
/** Types. */
declare module "a:b/types@1.0.0" {
  /** A kind. */
  export type SomeKind = "one" | "more-than-one";
  export interface Info {
    ifName: string;
    count?: number | null;
    all: [string, number][];
  }
  export type Verdict = { tag: "accept" } | { tag: "deny"; val: Info };
  export interface Thing {
    /** The info. */
    getInfo(deep: boolean): Info | null;
    /** @throws {Refused<Info>} */
    set(new_: Uint8Array, kind?: SomeKind | null): void;
  }
}

declare module "a:b/log@1.0.0" {
  export function log(text: string): void;
}

declare module "a:b/before@1.0.0" {
  import { Thing } from "a:b/types@1.0.0";
  import { Verdict } from "a:b/types@1.0.0";
  export interface Hook {
    before(one: Thing): Verdict;
  }
}

declare module "a:b/check@1.0.0" {
  export interface Hook {
    /** @throws {string} */
    check(): void;
  }
}
"#;
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains("cnidaria:policy/before-add@1.0.0"), "{text}");
    }

    #[test]
    fn a_wrong_package_has_a_reason() {
        assert!(declarations([("a.wit", "package a")].into_iter()).is_err());
    }
}
