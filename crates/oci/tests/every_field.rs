//! Every field of the specification's config: read, printed, and named when it
//! is wrong. `every_field.json` has each of them once, in the order of printing.
#![allow(clippy::unwrap_used, reason = "clippy takes the functions between the tests for no tests")]
use std::collections::BTreeSet;

use oci::Config;
use serde_json::{Value, json};

const TEXT: &str = include_str!("every_field.json");

fn config() -> Config {
    Config::parse(TEXT.as_bytes()).unwrap().unwrap()
}

/// A place in the document, as a JSON pointer and as an error names it.
struct Place {
    pointer: String,
    path: String,
}

/// All places below the document itself.
fn places() -> Vec<Place> {
    fn walk(value: &Value, at: &Place, places: &mut Vec<Place>) {
        let below: Vec<(Place, &Value)> = match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| {
                    let dot = if at.path.is_empty() { "" } else { "." };
                    let path = format!("{}{dot}{key}", at.path);
                    (Place { pointer: format!("{}/{key}", at.pointer), path }, value)
                })
                .collect(),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(i, value)| {
                    let path = format!("{}[{i}]", at.path);
                    (Place { pointer: format!("{}/{i}", at.pointer), path }, value)
                })
                .collect(),
            _ => Vec::new(),
        };
        for (place, value) in below {
            walk(value, &place, places);
            places.push(place);
        }
    }
    let mut places = Vec::new();
    let top = Place { pointer: String::new(), path: String::new() };
    walk(&serde_json::from_str(TEXT).unwrap(), &top, &mut places);
    places
}

/// The document with another value at a place.
fn with(place: &Place, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document: Value = serde_json::from_str(TEXT).unwrap();
    change(document.pointer_mut(&place.pointer).unwrap());
    serde_json::to_vec_pretty(&document).unwrap()
}

#[test]
fn is_printed_as_it_was_read() {
    let printed = serde_json::to_string(&config()).unwrap();
    let expected: String = TEXT.split_whitespace().collect();
    assert_eq!(printed, expected);
}

#[test]
fn reaches_the_field_of_its_name() {
    let config = config();
    let process = config.process.unwrap();
    assert_eq!(process.user.additional_gids, [5, u32::MAX]);
    assert_eq!(process.rlimits[0].hard, u64::MAX);
    assert_eq!(process.oom_score_adj, Some(-500));
    assert_eq!(config.mounts[1].gid_mappings[0].host_id, 100_001);
    assert_eq!(config.hooks.unwrap().create_runtime[0].timeout, Some(30));
    let linux = config.linux.unwrap();
    assert_eq!(linux.sysctl["net.ipv4.ip_forward"], "1");
    assert_eq!(linux.seccomp.unwrap().syscalls[0].args[0].value_two, 3);
    let resources = linux.resources.unwrap();
    assert_eq!(resources.memory.unwrap().disable_oom_killer, Some(false));
    assert_eq!(resources.pids.unwrap().limit, Some(0));
    assert_eq!(resources.devices[0].major, None);
    assert_eq!(resources.block_io.unwrap().throttle_write_iops_device[0].rate, 603);
}

#[test]
fn is_named_when_it_has_the_wrong_type() {
    for place in places() {
        let document = with(&place, |value| {
            *value = match value {
                Value::String(_) => json!(1),
                Value::Object(_) => json!([]),
                _ => json!("x"),
            };
        });
        let error = Config::parse(&document).unwrap_err();
        assert_eq!(error.path, place.path, "{error}");
        assert!(error.text.starts_with("invalid type: "), "{error}");
        assert!(error.line > 1, "{error}");
    }
}

#[test]
fn is_named_when_its_number_does_not_fit() {
    let numbers = ["1.5", "1.0", "1e3", "1e300", "18446744073709551616", "-9223372036854775809"];
    for place in places() {
        let before: Value = serde_json::from_str(TEXT).unwrap();
        if !before.pointer(&place.pointer).unwrap().is_number() {
            continue;
        }
        for number in numbers {
            let document = with(&place, |value| *value = json!("NUMBER"));
            let document = String::from_utf8(document).unwrap().replace("\"NUMBER\"", number);
            let error = Config::parse(document.as_bytes()).unwrap_err();
            assert_eq!(error.path, place.path, "{number}: {error}");
        }
    }
}

#[test]
fn can_be_null() {
    for place in places() {
        let document = with(&place, |value| *value = Value::Null);
        assert!(Config::parse(&document).unwrap().is_some(), "{}", place.path);
    }
}

#[test]
fn can_be_absent() {
    for place in places() {
        let (parent, name) = place.pointer.rsplit_once('/').unwrap();
        let mut document: Value = serde_json::from_str(TEXT).unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.remove(name)),
            Value::Array(list) => drop(list.remove(name.parse().unwrap())),
            other => panic!("{other} holds nothing"),
        }
        let document = serde_json::to_vec(&document).unwrap();
        assert!(Config::parse(&document).unwrap().is_some(), "{}", place.path);
    }
}

#[test]
fn is_cut_off_with_the_words_of_go() {
    let text = TEXT.trim_end().as_bytes();
    for end in 0..text.len() {
        let error = Config::parse(&text[..end]).unwrap_err();
        assert!(error.to_string().contains("unexpected EOF"), "{end}: {error}");
    }
}

/// Neither a broken byte nor two make it panic: it is read or refused.
#[test]
fn is_read_or_refused_when_bytes_are_broken() {
    let mut random: u64 = 1;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let bytes = b"\0\x1f\x80\xff\"\\{}[]:,0-9eu. ";
    for _ in 0..5000 {
        let mut document = TEXT.as_bytes().to_vec();
        for _ in 0..2 {
            let at = next(document.len());
            document[at] = bytes[next(bytes.len())];
        }
        if let Err(error) = Config::parse(&document) {
            assert!(!error.text.is_empty() && error.line > 0, "{error:?}");
        }
    }
}

/// The path of a place as the specification would name its field; `None` for elements of lists and for names that
/// are free.
fn field(path: &str) -> Option<String> {
    let mut field = String::new();
    for part in path.split('[') {
        match part.split_once(']') {
            Some((_, rest)) => field.extend(["[]", rest]),
            None => field.push_str(part),
        }
    }
    for (map, holds_objects) in [
        ("annotations.", false),
        ("linux.sysctl.", false),
        ("linux.resources.unified.", false),
        ("linux.resources.rdma.", true),
        ("linux.netDevices.", true),
        ("linux.timeOffsets.", true),
    ] {
        if let Some(rest) = field.strip_prefix(map) {
            let (_, below) = rest.split_once('.').filter(|_| holds_objects)?;
            return Some(format!("{map}NAME.{below}"));
        }
    }
    Some(field).filter(|field| !field.ends_with("[]"))
}

#[test]
fn is_listed_by_its_path() {
    let listed: BTreeSet<_> = Config::fields().into_iter().collect();
    let mut in_document: BTreeSet<_> = places().iter().filter_map(|place| field(&place.path)).collect();
    // All lists are of the same hooks, so one that has all fields is enough for the document.
    let of_all = |path: &&String| {
        let below =
            path.strip_prefix("hooks.").and_then(|hook| hook.split_once("[].")).map(|(_, field)| field);
        below.is_some_and(|field| listed.contains(&format!("hooks.createRuntime[].{field}")))
    };
    in_document.extend(listed.iter().filter(of_all).cloned());
    assert_eq!(listed, in_document);
}
