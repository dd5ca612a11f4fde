//! The macro behind `settings`: one entry becomes a field of a typed struct and a row of the
//! table. In: the list of sections. Out: `SECTIONS`, `Config` and a struct for each section.

macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:ident: $struct:ident {
            $(
                $(#[doc = $doc:literal])*
                $name:ident: $type:ty = $kind:expr, $cost:ident, $scope:ident, $component:ident;
            )*
        }
    )*) => {
        /// Every section with its fields, in the order of the reference.
        pub static SECTIONS: &[Section] = &[$(
            Section {
                name: stringify!($section),
                doc: concat!($($section_doc),*).trim_ascii(),
                fields: &[$(Field {
                    path: FieldPath { section: stringify!($section), name: stringify!($name) },
                    doc: concat!($($doc),*).trim_ascii(),
                    kind: $kind,
                    cost: $cost,
                    scope: $scope,
                    component: $component,
                }),*],
            },
        )*];

        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[allow(non_snake_case)]
            pub struct $struct {
                $($(#[doc = $doc])* pub $name: $type,)*
            }
        )*

        /// The whole configuration that a node runs, typed.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $section_doc])* pub $section: $struct,)*
        }

        impl Config {
            /// The configuration in which each setting has its value from `values`, or its
            /// default where `values` does not name it.
            pub fn from_values(values: &Values) -> Config {
                Config {
                    $($section: $struct {
                        $($name: typed(values, stringify!($section), stringify!($name)),)*
                    },)*
                }
            }
        }
    };
}

pub(crate) use settings;
