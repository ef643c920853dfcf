//! `#[derive(Resource)]`: the record, and the definition of its type.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Error, Ident, LitStr, Result, Token, parenthesized};

#[derive(Default)]
struct Attribute {
    kind: Option<String>,
    namespace: Option<String>,
    aliases: Vec<String>,
    columns: Vec<(String, String)>,
    flags: Vec<Ident>,
}

const FLAGS: [&str; 5] = ["sensitive", "scalar", "yaml_string", "message", "internal"];

fn attribute(input: &DeriveInput) -> Result<Attribute> {
    let mut parsed = Attribute::default();
    let attr = input.attrs.iter().find(|attr| attr.path().is_ident("resource")).ok_or_else(|| {
        Error::new_spanned(&input.ident, "a resource needs #[resource(kind = …, namespace = …)]")
    })?;
    attr.parse_nested_meta(|meta| {
        let name = meta.path.require_ident()?.clone();
        match name.to_string().as_str() {
            "kind" => parsed.kind = Some(meta.value()?.parse::<LitStr>()?.value()),
            "namespace" => parsed.namespace = Some(meta.value()?.parse::<LitStr>()?.value()),
            "aliases" => {
                let list;
                parenthesized!(list in meta.input);
                let items = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
                parsed.aliases = items.iter().map(LitStr::value).collect();
            }
            "columns" => {
                let list;
                parenthesized!(list in meta.input);
                while !list.is_empty() {
                    let column = list.parse::<LitStr>()?.value();
                    list.parse::<Token![=>]>()?;
                    parsed.columns.push((column, list.parse::<LitStr>()?.value()));
                    list.parse::<Option<Token![,]>>()?;
                }
            }
            flag if FLAGS.contains(&flag) => parsed.flags.push(name),
            _ => return Err(meta.error("expected kind, namespace, aliases, columns or a flag")),
        }
        Ok(())
    })?;
    Ok(parsed)
}

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Attribute { kind, namespace, aliases, columns, flags } = attribute(input)?;
    let missing = |what: &str| Error::new_spanned(&input.ident, format!("#[resource] needs {what}"));
    let kind = kind.ok_or_else(|| missing("kind"))?;
    let namespace = namespace.ok_or_else(|| missing("namespace"))?;
    let columns = columns.iter().map(|(name, path)| quote!((#name, #path)));
    let record = crate::record::derive(input)?;
    let ident = &input.ident;
    Ok(quote! {
        #record
        impl ::corten_resource::Spec for #ident {
            const DEFINITION: ::corten_resource::Definition = ::corten_resource::Definition {
                #(#flags: true,)*
                aliases: &[#(#aliases),*],
                columns: &[#(#columns),*],
                ..::corten_resource::Definition::new(#kind, #namespace)
            };
        }
    })
}
