//! The versions of the WIT package that this host serves side by side: older modules keep working.

use std::fmt;

use crate::model::report::Hook;

/// The package that defines hooks and imports.
const PACKAGE: &str = "cnidaria:policy";

/// A served version, oldest first. Each covers its minor version: patch versions only add, and
/// older hosts lack what they add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Hooks borrow the handles of what they work on.
    V0_1,
    /// Hooks own the handles of what they work on.
    V0_2,
    /// Validating hooks; hooks see the whole plan, errors and findings have fields.
    V0_3,
}

impl Version {
    /// All served versions.
    pub(crate) const ALL: [Self; 3] = [Self::V0_1, Self::V0_2, Self::V0_3];

    /// The version as in the package's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
            Self::V0_3 => "0.3.0",
        }
    }

    /// Whether modules of this version can have the hook.
    pub(crate) fn has(self, hook: Hook) -> bool {
        self >= Self::V0_3
            || !matches!(
                hook,
                Hook::ValidateSelections
                    | Hook::ValidatePlan
                    | Hook::ValidateResult
                    | Hook::AddFailed
            )
    }

    /// The served version for modules that target `version`: same minor version, at least as new.
    fn serving(version: &str) -> Option<Self> {
        let (minor, patch) = minor_and_patch(version)?;
        Self::ALL.into_iter().find(|served| {
            minor_and_patch(served.as_str())
                .is_some_and(|(own_minor, own_patch)| minor == own_minor && patch <= own_patch)
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn minor_and_patch(version: &str) -> Option<(&str, u32)> {
    let (minor, patch) = version.rsplit_once('.')?;
    Some((minor, patch.parse().ok()?))
}

/// An interface of the package, of any version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface<'a> {
    /// The interface's name, without package and version.
    pub(crate) name: &'a str,
    /// The served version for it, if any.
    pub(crate) version: Option<Version>,
}

impl<'a> Interface<'a> {
    /// Parses the name of an import or export; `None` for other packages.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
        let (name, version) = rest.split_once('@').unwrap_or((rest, ""));
        let version = Version::serving(version);
        Some(Self { name, version })
    }
}

/// The served versions as text.
pub(crate) fn served() -> String {
    Version::ALL
        .map(|version| format!("{PACKAGE}@{version}"))
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_version_is_served_up_to_hosts_patch() {
        fn served(name: &str) -> Option<(&str, Option<Version>)> {
            Interface::parse(name).map(|found| (found.name, found.version))
        }
        let types = |version| Some(("types", version));
        assert_eq!(
            served("cnidaria:policy/types@0.1.0"),
            types(Some(Version::V0_1))
        );
        assert_eq!(
            served("cnidaria:policy/types@0.2.0"),
            types(Some(Version::V0_2))
        );
        assert_eq!(
            served("cnidaria:policy/types@0.3.0"),
            types(Some(Version::V0_3))
        );
        for version in [
            "@0.1.1", "@0.2.1", "@0.3.1", "@0.4.0", "@1.1.0", "@0.1", "@", "", "@0.1.x",
        ] {
            let name = format!("cnidaria:policy/types{version}");
            assert_eq!(served(&name), types(None), "{version}");
        }
        assert_eq!(served("cnidaria:policies/types@0.1.0"), None);
        assert_eq!(served("wasi:io/poll@0.2.0"), None);
    }

    #[test]
    fn the_versions_are_those_of_the_packages() {
        let packages = [
            include_str!("../../../../wit/policy-0.1.0/types.wit"),
            include_str!("../../../../wit/policy-0.2.0/types.wit"),
            include_str!("../../../../wit/policy-0.3.0/types.wit"),
        ];
        for (version, types) in Version::ALL.into_iter().zip(packages) {
            assert!(types.starts_with(&format!("package {PACKAGE}@{version};")));
        }
    }
}
