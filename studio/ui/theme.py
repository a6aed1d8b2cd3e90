"""Colours, radii and type for Gradio's own components; the rest is in assets/studio.css."""

import gradio as gr

SEA = gr.themes.Color(
    name="sea", c50="#effaf8", c100="#d6f1ec", c200="#aee2da", c300="#7bcdc2", c400="#45b0a4", c500="#1f9488",
    c600="#0f766e", c700="#115e59", c800="#134e4a", c900="#123f3d", c950="#062725",
)  # fmt: skip
SLATE = gr.themes.Color(
    name="slate", c50="#f6f8f9", c100="#eef2f2", c200="#dfe6e6", c300="#c5d0d0", c400="#8d9d9d", c500="#647676",
    c600="#475757", c700="#334141", c800="#1f2b2b", c900="#141d1d", c950="#0b1212",
)  # fmt: skip
SANS = ["Inter Variable", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "system-ui", "sans-serif"]
MONO = ["JetBrains Mono Variable", "ui-monospace", "monospace"]
CARD, CARD_DARK = "#ffffff", "*neutral_900"
LINE, LINE_DARK = "*neutral_200", "*neutral_800"


def build_theme() -> gr.themes.Base:
    """The studio's theme, light and dark."""
    theme = gr.themes.Base(
        primary_hue=SEA,
        secondary_hue=SEA,
        neutral_hue=SLATE,
        radius_size=gr.themes.sizes.radius_md,
        font=SANS,
        font_mono=MONO,
    )
    return theme.set(**SURFACES, **BLOCKS, **INPUTS, **BUTTONS, **CHECKBOXES)


SURFACES = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "*neutral_950",
    "body_text_color": "*neutral_900",
    "body_text_color_dark": "#e6eeec",
    "body_text_color_subdued": "*neutral_500",
    "body_text_color_subdued_dark": "*neutral_400",
    "background_fill_primary": CARD,
    "background_fill_primary_dark": CARD_DARK,
    "background_fill_secondary": "*neutral_50",
    "background_fill_secondary_dark": "*neutral_950",
    "border_color_primary": LINE,
    "border_color_primary_dark": LINE_DARK,
    "layout_gap": "14px",
    "form_gap_width": "0px",
    "table_radius": "10px",
    "table_even_background_fill": CARD,
    "table_even_background_fill_dark": CARD_DARK,
    "table_odd_background_fill": CARD,
    "table_odd_background_fill_dark": CARD_DARK,
    "table_border_color": LINE,
    "table_border_color_dark": LINE_DARK,
    "link_text_color": "*primary_600",
    "link_text_color_dark": "*primary_300",
}
BLOCKS = {
    "block_background_fill": CARD,
    "block_background_fill_dark": CARD_DARK,
    "block_border_width": "1px",
    "block_border_color": LINE,
    "block_border_color_dark": LINE_DARK,
    "block_radius": "12px",
    "block_padding": "14px",
    "block_shadow": "0 1px 2px rgba(13,38,35,.04)",
    "block_shadow_dark": "none",
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_label_border_width": "0px",
    "block_label_text_size": "*text_sm",
    "block_label_text_weight": "550",
    "block_label_padding": "6px 10px",
    "block_label_text_color": "*neutral_600",
    "block_label_text_color_dark": "*neutral_400",
    "block_title_text_weight": "550",
    "block_title_text_size": "*text_sm",
    "block_title_text_color": "*neutral_700",
    "block_title_text_color_dark": "*neutral_300",
    "block_info_text_size": "*text_xs",
    "panel_background_fill": "transparent",
    "panel_border_width": "0",
}
INPUTS = {
    "input_background_fill": "#ffffff",
    "input_background_fill_dark": "*neutral_950",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "*neutral_700",
    "input_border_width": "1px",
    "input_border_width_dark": "1px",
    "input_border_color_focus": "*primary_500",
    "input_border_color_focus_dark": "*primary_400",
    "input_radius": "8px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 3px rgba(31,148,136,.18)",
    "input_shadow_focus_dark": "0 0 0 3px rgba(69,176,164,.25)",
    "input_padding": "8px 11px",
    "slider_color": "*primary_500",
}
BUTTONS = {
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_500",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_dark": "#ffffff",
    "button_primary_border_color": "transparent",
    "button_primary_border_color_dark": "transparent",
    "button_secondary_background_fill": "#ffffff",
    "button_secondary_background_fill_hover": "*neutral_100",
    "button_secondary_background_fill_dark": "*neutral_800",
    "button_secondary_background_fill_hover_dark": "*neutral_700",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "*neutral_700",
    "button_secondary_text_color": "*neutral_800",
    "button_secondary_text_color_dark": "#e6eeec",
    "button_border_width": "1px",
    "button_medium_radius": "8px",
    "button_large_radius": "8px",
    "button_small_radius": "7px",
    "button_medium_text_size": "*text_sm",
    "button_large_text_size": "*text_sm",
    "button_medium_text_weight": "550",
    "button_large_text_weight": "600",
    "button_medium_padding": "7px 14px",
    "button_large_padding": "10px 16px",
    "button_transition": "background .12s, border-color .12s",
}
CHECKBOXES = {
    "checkbox_border_radius": "5px",
    "checkbox_label_background_fill": "#ffffff",
    "checkbox_label_background_fill_dark": "*neutral_950",
    "checkbox_label_background_fill_selected": "*primary_50",
    "checkbox_label_background_fill_selected_dark": "rgba(69,176,164,.16)",
    "checkbox_label_border_width": "1px",
    "checkbox_label_border_color_selected": "*primary_500",
    "checkbox_label_border_color_selected_dark": "*primary_400",
    "checkbox_label_text_color_selected": "*primary_800",
    "checkbox_label_text_color_selected_dark": "*primary_200",
    "checkbox_label_padding": "8px 13px",
    "checkbox_label_text_size": "*text_sm",
    "checkbox_background_color_selected": "*primary_600",
    "checkbox_background_color_selected_dark": "*primary_500",
}
