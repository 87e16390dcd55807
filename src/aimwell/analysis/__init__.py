"""Step 3, analysis 分析: tags, RFM and lifecycle, segments and customer 360, from what happened before ``as_of``."""
