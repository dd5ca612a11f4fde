//! Finds settings in the table by name. In: texts. Out: the table's own entries. Pure.

use crate::field::{Field, FieldPath, Section};
use crate::settings::SECTIONS;

impl FieldPath {
    /// Reads `section.name`; `None` when there is no such setting.
    pub fn parse(text: &str) -> Option<FieldPath> {
        let (section, name) = text.split_once('.')?;
        field(section, name).map(|field| field.path)
    }

    /// The setting of this path.
    pub fn field(self) -> &'static Field {
        // A path is only ever made from a field of the table.
        field(self.section, self.name).expect("a path names a field of the table")
    }
}

/// The section of that name.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The setting `name` of `section_name`.
pub fn field(section_name: &str, name: &str) -> Option<&'static Field> {
    section(section_name)?.fields.iter().find(|field| field.path.name == name)
}

/// Every setting, in the order of the reference.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    SECTIONS.iter().flat_map(|section| section.fields)
}
