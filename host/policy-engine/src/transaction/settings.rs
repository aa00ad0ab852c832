//! The values that a policy set in its turn, changed or not.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cni_types::json::Node;

/// The path of a value that was set, as claims name it.
pub(crate) type Place = Vec<Cow<'static, str>>;

/// An edit as claims record it.
#[derive(Debug)]
pub(crate) enum Setting {
    /// Sets the value at a place; `None` removes it.
    Set(Place, Option<Node>),
    /// Revokes what was set at a place and below it.
    Gone(Place),
}

/// The values that a policy set and did not revoke, the last of each place.
#[derive(Debug, Default)]
pub(crate) struct Settings(BTreeMap<Place, Option<Node>>);

impl Settings {
    pub(super) fn add(&mut self, setting: Setting) {
        match setting {
            Setting::Set(place, value) => {
                self.remove(&place);
                self.0.insert(place, value);
            }
            Setting::Gone(place) => self.remove(&place),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, Option<&Node>)> {
        self.0.iter().map(|(place, value)| (place, value.as_ref()))
    }

    /// Removes what was set at a place and below it, which the order keeps together.
    fn remove(&mut self, place: &Place) {
        let below = self.0.range(place.clone()..);
        let below = below.take_while(|(path, _)| path.starts_with(place));
        let below: Vec<Place> = below.map(|(path, _)| path.clone()).collect();
        for path in below {
            self.0.remove(&path);
        }
    }
}
