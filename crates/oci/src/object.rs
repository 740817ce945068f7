//! How every type of this crate is read from and written to JSON: by the rules
//! of Go's encoding/json, because that is what wrote, and reads, these files.
//!
//! Serde's own derive differs from Go in ways that real files run into: it
//! refuses `null` for a list or a string, refuses a key that comes twice, and
//! minds the case of keys. So `object!` declares a struct together with its
//! keys and writes the two impls itself.
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A type that a field of a JSON object can have.
pub trait Field: Sized + Default {
    /// Reads a value that is not `null`.
    fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error>;
    /// Whether a key marked `omitempty` is left out for this value.
    fn is_empty(&self) -> bool;
    /// Adds the paths of all fields below a value of this type, which is at `path`.
    fn list(_path: &str, _paths: &mut Vec<String>) {}
}

macro_rules! scalar {
    ($($type:ty)*) => { $(
        impl Field for $type {
            fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                Self::deserialize(json)
            }

            fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }
    )* };
}
scalar!(bool u16 u32 u64 i32 i64 String);

impl<T: Field> Field for Option<T> {
    fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        T::read(json).map(Some)
    }

    fn is_empty(&self) -> bool {
        self.is_none()
    }

    fn list(path: &str, paths: &mut Vec<String>) {
        T::list(path, paths);
    }
}

impl<T: Field> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(ListVisitor(PhantomData))
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn list(path: &str, paths: &mut Vec<String>) {
        T::list(&format!("{path}[]"), paths);
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(MapVisitor(PhantomData))
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn list(path: &str, paths: &mut Vec<String>) {
        T::list(&format!("{path}.NAME"), paths);
    }
}

/// A field's value where `null` stands for the empty one.
pub struct OrEmpty<T>(pub T);

impl<'de, T: Field> Deserialize<'de> for OrEmpty<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_option(OrEmptyVisitor(PhantomData))
    }
}

struct OrEmptyVisitor<T>(PhantomData<T>);

impl<'de, T: Field> Visitor<'de> for OrEmptyVisitor<T> {
    type Value = OrEmpty<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: Error>(self) -> Result<OrEmpty<T>, E> {
        Ok(OrEmpty(T::default()))
    }

    fn visit_unit<E: Error>(self) -> Result<OrEmpty<T>, E> {
        Ok(OrEmpty(T::default()))
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<OrEmpty<T>, D::Error> {
        T::read(json).map(OrEmpty)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Field> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(OrEmpty(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}

struct MapVisitor<T>(PhantomData<T>);

impl<'de, T: Field> Visitor<'de> for MapVisitor<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((key, OrEmpty(value))) = map.next_entry()? {
            values.insert(key, value);
        }
        Ok(values)
    }
}

/// Finds the field that a key means, without keeping the key.
pub struct FieldOf<K: 'static>(pub &'static [(&'static str, K)]);

impl<'de, K: Copy> DeserializeSeed<'de> for FieldOf<K> {
    type Value = Option<K>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<K>, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl<K: Copy> Visitor<'_> for FieldOf<K> {
    type Value = Option<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<K>, E> {
        let exact = self.0.iter().find(|(name, _)| *name == key);
        let found = exact.or_else(|| self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)));
        Ok(found.map(|(_, field)| *field))
    }
}

/// Declares structs with their JSON keys, in the order in which they are
/// printed: `pub field: Type => "key",`, with `omitempty` after the key when
/// an empty value is not printed, and with `omitzero` when a struct of which
/// nothing is set is not.
macro_rules! object {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident {
            $( $(#[$field_doc:meta])* pub $field:ident : $type:ty => $key:literal $($omit:ident)?, )*
        }
    )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        const _: () = {
            use serde::{de, ser};
            use $crate::object::{Field, FieldOf, OrEmpty};

            #[derive(Clone, Copy)]
            #[allow(non_camel_case_types, reason = "one variant a field")]
            enum Key { $( $field ),* }

            struct Visitor;

            impl<'de> de::Visitor<'de> for Visitor {
                type Value = $name;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                    let mut object = $name::default();
                    while let Some(key) = map.next_key_seed(FieldOf(&[$( ($key, Key::$field) ),*]))? {
                        match key {
                            $( Some(Key::$field) => object.$field = map.next_value::<OrEmpty<_>>()?.0, )*
                            None => drop(map.next_value::<de::IgnoredAny>()?),
                        }
                    }
                    Ok(object)
                }
            }

            impl<'de> de::Deserialize<'de> for $name {
                fn deserialize<D: de::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                    json.deserialize_map(Visitor)
                }
            }

            impl ser::Serialize for $name {
                fn serialize<S: ser::Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
                    use ser::SerializeMap;
                    let mut map = json.serialize_map(None)?;
                    $(
                        if true $( && $crate::object::object!(@$omit &self.$field) )? {
                            map.serialize_entry($key, &self.$field)?;
                        }
                    )*
                    map.end()
                }
            }

            impl Field for $name {
                fn read<'de, D: de::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                    <Self as de::Deserialize>::deserialize(json)
                }

                fn is_empty(&self) -> bool {
                    false // Go never leaves a struct out
                }

                fn list(path: &str, paths: &mut Vec<String>) {
                    let dot = if path.is_empty() { "" } else { "." };
                    $(
                        let field = format!("{path}{dot}{}", $key);
                        paths.push(field.clone());
                        <$type as Field>::list(&field, paths);
                    )*
                }
            }
        };
    )* };
    (@omitempty $value:expr) => { !Field::is_empty($value) };
    (@omitzero $value:expr) => { *$value != Default::default() };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use crate::{Config, Root};

    #[test]
    fn reads_as_go_does() {
        let root = |path: &str, readonly| Some(Root { path: path.into(), readonly });
        let named = |hostname: &str| Config { hostname: hostname.into(), ..Config::default() };
        let arguments = |args: &[&str]| {
            let args = args.iter().map(ToString::to_string).collect();
            let process = crate::Process { args, ..Default::default() };
            Config { process: Some(process), ..Config::default() }
        };
        let cases = [
            // null is the empty value, for whatever type
            (r#"{"hostname": null, "mounts": null, "annotations": null, "root": null}"#, Config::default()),
            (r#"{"root": {"path": null, "readonly": null}}"#, Config { root: root("", false), ..named("") }),
            (r#"{"process": {"user": null, "args": ["a", null]}}"#, arguments(&["a", ""])),
            // the last of two equal keys is taken
            (r#"{"hostname": "a", "hostname": "b"}"#, named("b")),
            (r#"{"root": {"path": "a", "path": "b"}}"#, Config { root: root("b", false), ..named("") }),
            // keys are found in any case
            (
                r#"{"HostName": "a", "ROOT": {"readOnly": true}}"#,
                Config { root: root("", true), ..named("a") },
            ),
            // what is not known is not looked at
            (r#"{"windows": {"layerFolders": 3}, "hostname": "a", "future": [[{}]]}"#, named("a")),
        ];
        for (document, expected) in cases {
            assert_eq!(Config::parse(document.as_bytes()), Ok(Some(expected)), "{document}");
        }
    }

    #[test]
    fn prints_as_go_does() {
        let cases = [
            (Config::default(), r#"{"ociVersion":""}"#),
            (
                Config { process: Some(crate::Process::default()), ..Config::default() },
                r#"{"ociVersion":"","process":{"user":{"uid":0,"gid":0},"cwd":""}}"#,
            ),
            (
                Config { linux: Some(crate::Linux::default()), ..Config::default() },
                r#"{"ociVersion":"","linux":{}}"#,
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(serde_json::to_string(&config).unwrap(), expected);
        }
    }
}
