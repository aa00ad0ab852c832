//! `#[derive(Schema)]` of `cnidaria-guest-sdk`: what `#[derive(Deserialize)]` accepts, as a constant.

mod attributes;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Field, Fields, Result, parse_macro_input};

use attributes::{Container, Member};

/// Implements `cnidaria_guest::schema::Schema` with the names that serde reads.
///
/// Of serde's attributes it knows `rename`, `rename_all`, `alias`, `default`, `skip`, `flatten`,
/// `transparent` and `deny_unknown_fields`. Fields that serde reads in another way, such as with
/// `deserialize_with`, may have any value. `#[schema(minimum = 1, maximum = 2)]` bounds a number, or
/// the length of a text or list.
#[proc_macro_derive(Schema, attributes(schema, serde))]
pub fn schema(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implementation(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn implementation(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(parameter) = input.generics.params.first() {
        let message = "settings with type parameters have no schema of their own";
        return Err(Error::new_spanned(parameter, message));
    }
    let container = Container::read(&input.attrs)?;
    let json = match &input.data {
        _ if container.is_opaque => quote!(Json::Any),
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => object(&container, fields.named.iter())?,
            Fields::Unnamed(fields) => match fields.unnamed.first() {
                Some(field) if fields.unnamed.len() == 1 => {
                    let inner = schema_of(field, &Member::read(&field.attrs)?);
                    quote!(*#inner)
                }
                _ => quote!(Json::Any),
            },
            Fields::Unit => quote!(Json::Any),
        },
        Data::Enum(data) => choice(&container, data)?,
        Data::Union(data) => {
            let message = "a union is not read from JSON";
            return Err(Error::new(data.union_token.span, message));
        }
    };
    let name = &input.ident;
    Ok(quote! {
        const _: () = {
            use ::cnidaria_guest::schema::{Json, Member, Schema};
            impl Schema for #name {
                const SCHEMA: &'static Json = &#json;
            }
        };
    })
}

fn object<'a>(
    container: &Container,
    fields: impl Iterator<Item = &'a Field>,
) -> Result<TokenStream> {
    let (mut members, mut schemas) = (Vec::new(), Vec::new());
    let mut is_open = !container.denies_unknown;
    for field in fields {
        let Some(ident) = &field.ident else { continue };
        let member = Member::read(&field.attrs)?;
        is_open |= member.is_flat;
        if member.is_skipped || member.is_flat {
            continue;
        }
        let names = member.names(container.rename_all, &ident.to_string());
        let (ty, description) = (&field.ty, &member.description);
        let schema = schema_of(field, &member);
        let has_default = member.has_default || container.has_default || names.len() > 1;
        let required = match has_default || member.is_opaque {
            true => quote!(false),
            false => quote!(!<#ty as Schema>::IS_OPTIONAL),
        };
        for name in &names {
            members.push(quote! {
                Member {
                    name: #name,
                    description: #description,
                    is_required: #required,
                    schema: #schema,
                }
            });
        }
        schemas.push(schema);
    }
    if container.is_transparent {
        return Ok(match schemas.as_slice() {
            [schema] => quote!(*#schema),
            _ => quote!(Json::Any),
        });
    }
    Ok(quote!(Json::Object { members: &[#(#members),*], is_open: #is_open }))
}

fn schema_of(field: &Field, member: &Member) -> TokenStream {
    let ty = &field.ty;
    match member.is_opaque {
        true => quote!(&Json::Any),
        false => member.bounded(quote!(<#ty as Schema>::SCHEMA)),
    }
}

/// An enum is one of its names if no variant has data.
fn choice(container: &Container, data: &DataEnum) -> Result<TokenStream> {
    let mut all = Vec::new();
    for variant in &data.variants {
        let member = Member::read(&variant.attrs)?;
        if member.is_skipped {
            continue;
        }
        if !matches!(variant.fields, Fields::Unit) || member.is_opaque {
            return Ok(quote!(Json::Any));
        }
        all.extend(member.variant_names(container.rename_all, &variant.ident.to_string()));
    }
    Ok(quote!(Json::OneOf(&[#(#all),*])))
}
