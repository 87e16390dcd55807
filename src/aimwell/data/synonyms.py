"""How people call the columns of customer data, in Chinese and English.

``FIELDS`` lists, for each table that a file can feed, the fields that may be mapped. ``names`` are the usual
headers, ``weaker`` ones are taken only where no usual one stands in the file. Reads and writes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from aimwell.data.identity.names import simplify


class Kind(StrEnum):
    """What the values of a field look like."""

    KEY = "key"
    INSTANT = "instant"
    CLOCK = "clock"
    NUMBER = "number"
    BOOLEAN = "boolean"
    EMAIL = "email"
    PHONE = "phone"
    TEXT = "text"


@dataclass(frozen=True)
class Field:
    """One thing that a file can deliver to a table. ``strict``: two equal candidates are an error, not a guess."""

    name: str
    kind: Kind
    names: str
    weaker: str = ""
    required: bool = False
    strict: bool = True


VOCABULARY = "vocabulary"
"""No column: the words in which an event file names what happened (``data.vocabulary``)."""
_CUSTOMER = Field(
    "customer_id",
    Kind.KEY,
    "customer id|customer no|customer number|customer code|cust id|user id|member id|member no|member number|"
    "household id|household key|client id|buyer id|uid|account id|person id|rec id|record id|unique id|open id|"
    "openid|unionid|会员号|会员编号|会员id|会员卡号|客户号|客户编号|客户id|客户代码|"
    "用户id|用户编号|用户号|顾客编号|顾客号|顾客id|买家id|买家编号",
    "customer|member|user|household|client|buyer|shopper|account|id|会员|客户|用户|顾客|"
    "买家|买家会员名|卡号|手机号|手机",
    required=True,
)
_DEPARTMENT = "department|dept|department name|部门|大类|大类名称|一级类目|品类|一级分类"
_CATEGORY = (
    "category|product category|category id|category name|item category id|类目|商品类目|分类|商品分类|类别|"
    "商品类别|中类|小类|二级类目"
)
_BRAND = "brand|brand name|product brand|品牌|品牌名称|商品品牌"
_PRODUCT_KEY = (
    "product id|product code|product no|item id|item code|sku|sku id|sku code|stock code|"
    "article id|article no|upc|"
    "goods id|ean|barcode|商品编号|商品id|商品编码|商品代码|产品编号|产品id|产品编码|货号|条码|商品条码|sku编码"
)
_PRODUCT_NAME = (
    "product name|product title|product|item name|item description|product description|"
    "goods name|商品名称|商品名|"
    "产品名称|产品名|品名|商品标题|商品"
)
_REGION = (
    "region|country|province|state|area|territory|地区|区域|大区|国家|省份|省|所在地区|所在省份|所在省|省市"
)
_CITY = "city|城市|所在城市"
"""A region only where the file has none that is wider."""

_ORDER_LINES = (
    _CUSTOMER,
    Field(
        "order_id",
        Kind.KEY,
        "order id|order no|order number|order code|invoice no|invoice number|invoice id|"
        "basket id|transaction id|"
        "transaction no|receipt no|receipt id|bill no|ticket id|订单号|订单编号|订单id|交易号|"
        "交易编号|小票号|小票编号|单据号|"
        "单号|流水号|交易流水号|发票号|购物篮编号",
        "order|invoice|basket|transaction|receipt|订单|小票|交易",
    ),
    Field(
        "ordered_at",
        Kind.INSTANT,
        "order date|order time|order datetime|ordered at|ordered on|invoice date|transaction timestamp|"
        "transaction date|transaction time|purchase date|purchase time|sale date|sales date|datetime|date time|"
        "timestamp|下单时间|下单日期|订单时间|订单日期|交易时间|交易日期|购买时间|购买日期|"
        "消费时间|消费日期|销售日期|销售时间|日期时间",
        "date|time|day|created at|order created|paid at|payment date|日期|时间|付款时间|付款日期|"
        "支付时间|成交时间|创建时间",
        required=True,
    ),
    Field(
        "ordered_time",
        Kind.CLOCK,
        "time of day|clock time|时刻|下单时刻|交易时刻",
        "time|trans time|时间",
        strict=False,
    ),
    Field("product_id", Kind.KEY, _PRODUCT_KEY, "product|item|article|goods|商品|产品"),
    Field("product_name", Kind.TEXT, _PRODUCT_NAME, "description|item|title|goods|产品|名称"),
    Field("department", Kind.TEXT, _DEPARTMENT, strict=False),
    Field("category", Kind.TEXT, _CATEGORY, strict=False),
    Field("brand", Kind.TEXT, _BRAND, strict=False),
    Field(
        "quantity",
        Kind.NUMBER,
        "quantity|qty|units|unit count|item count|number of units|数量|件数|购买数量|销售数量|"
        "商品数量|销量|订购数量",
        "count|number of|pieces|num|个数|份数",
    ),
    Field(
        "unit_price",
        Kind.NUMBER,
        "unit price|price|item price|selling price|sale price|price per unit|单价|商品单价|"
        "成交单价|价格|售价|销售单价",
        "list price|原价|标价",
    ),
    Field(
        "revenue",
        Kind.NUMBER,
        "revenue|sales value|sales amount|amount|line total|total price|total amount|"
        "amount paid|sales|net sales|"
        "金额|销售额|销售金额|实付金额|实付|支付金额|成交金额|实收金额|实收|消费金额|商品金额|小计",
        "total|value|dollar value|spend|paid|payment|turnover|订单金额|应付金额|总价|总金额|总额|合计",
    ),
    Field(
        "discount",
        Kind.NUMBER,
        "discount|discount amount|discount value|优惠|优惠金额|折扣金额|优惠额|让利",
        "折扣|promotion amount|coupon discount",
        strict=False,
    ),
    Field(
        "store_id",
        Kind.KEY,
        "store id|store|store no|store code|shop id|shop|branch|outlet|门店|门店编号|门店id|"
        "门店名称|店铺|店铺id|店铺名称|店号",
        "merchant id|merchant|location|网点|分店",
        strict=False,
    ),
    Field("region", Kind.TEXT, _REGION, _CITY, strict=False),
)
_CUSTOMERS = (
    _CUSTOMER,
    Field(
        "email",
        Kind.EMAIL,
        "email|e mail|email address|mail|邮箱|电子邮箱|电子邮件|邮件地址",
        strict=False,
    ),
    Field(
        "phone",
        Kind.PHONE,
        "phone|mobile|phone number|mobile number|mobile phone|cell phone|telephone|tel|手机|手机号|"
        "手机号码|电话|联系电话|电话号码",
        strict=False,
    ),
    Field(
        "address",
        Kind.TEXT,
        "address|postal address|street address|mailing address|地址|通讯地址|收货地址|联系地址|详细地址",
        strict=False,
    ),
    Field("region", Kind.TEXT, _REGION, _CITY, strict=False),
)
_PRODUCTS: tuple[Field, ...] = (
    Field("product_id", Kind.KEY, _PRODUCT_KEY, "product|item|id|商品|产品|编号", required=True),
    Field("name", Kind.TEXT, _PRODUCT_NAME, "description|name|title|名称|标题", strict=False),
    Field("department", Kind.TEXT, _DEPARTMENT, strict=False),
    Field("category", Kind.TEXT, _CATEGORY, strict=False),
    Field("brand", Kind.TEXT, _BRAND, "manufacturer|厂家|厂商", strict=False),
    Field(
        "price",
        Kind.NUMBER,
        "price|list price|unit price|retail price|msrp|价格|售价|单价|零售价|标价|吊牌价",
        "原价|selling price",
        strict=False,
    ),
    Field(
        "unit_cost",
        Kind.NUMBER,
        "unit cost|cost|cost price|purchase price|成本|成本价|单位成本|进价|进货价",
        strict=False,
    ),
    Field(
        "stock",
        Kind.NUMBER,
        "stock|inventory|on hand|stock quantity|库存|库存量|库存数量|可售库存",
        strict=False,
    ),
)
_EVENTS = (
    _CUSTOMER,
    Field("event_id", Kind.KEY, "event id|message id|事件id|事件编号|消息id", strict=False),
    Field(
        "name",
        Kind.TEXT,
        "event|event name|event type|action|behavior|behaviour|behavior type|behaviour type|activity|"
        "事件|事件名称|事件类型|行为|行为类型|动作",
        "type|name|类型",
        required=True,
    ),
    Field(
        "occurred_at",
        Kind.INSTANT,
        "occurred at|event time|event date|event timestamp|timestamp|datetime|date time|action "
        "time|发生时间|事件时间|行为时间|"
        "时间戳|日期时间",
        "date|time|day|created at|ts|日期|时间|创建时间",
        required=True,
    ),
    Field(VOCABULARY, Kind.TEXT, "", strict=False),
    Field("product_id", Kind.KEY, _PRODUCT_KEY, "product|item|商品|产品", strict=False),
    Field("campaign_id", Kind.KEY, "campaign id|campaign|活动id|活动编号|营销活动|活动", strict=False),
    Field("channel", Kind.TEXT, "channel|medium|acquisition channel|渠道|触达渠道|来源渠道", strict=False),
    Field(
        "received_at",
        Kind.INSTANT,
        "received at|received time|receive time|server time|ingested at|arrived at|接收时间|"
        "到达时间|服务器时间|上报时间|入库时间",
        strict=False,
    ),
)
_CONSENTS = (
    _CUSTOMER,
    Field("channel", Kind.TEXT, "channel|contact channel|渠道|触达渠道|联系渠道", required=True),
    Field(
        "allowed",
        Kind.BOOLEAN,
        "allowed|consent|opt in|opted in|permission|subscribed|agreed|授权|是否授权|允许|"
        "是否允许|同意|是否同意|订阅",
        "status|状态",
        required=True,
    ),
    Field("purpose", Kind.TEXT, "purpose|用途|目的", strict=False),
    Field(
        "since",
        Kind.INSTANT,
        "since|consent date|consent time|updated at|valid from|授权时间|同意时间|生效时间|更新时间",
        "date|time|日期|时间",
        strict=False,
    ),
    Field(
        "until",
        Kind.INSTANT,
        "until|valid until|valid to|valid till|valid through|expires|expires at|expiry|expiry date|expires on|"
        "expire date|expiration|expiration date|consent until|consent expiry|有效期|有效期至|有效期限|有效期截止|"
        "授权有效期|授权到期日|授权到期时间|失效时间|失效日期|到期时间|到期日|到期日期|过期时间|过期日期|截止时间|"
        "截止日期",
        "end date|end time|end|结束时间|结束日期",
        strict=False,
    ),
)
_SIGNALS = (
    _CUSTOMER,
    Field(
        "signal_id",
        Kind.KEY,
        "signal id|response id|feedback id|complaint id|survey id|review id|ticket id|case id|"
        "问卷编号|反馈编号|投诉编号|"
        "评价编号|工单号|工单编号",
        strict=False,
    ),
    Field(
        "score",
        Kind.NUMBER,
        "score|rating|nps|nps score|csat|ces|satisfaction|satisfaction score|stars|rate|评分|"
        "得分|分数|打分|满意度|满意度评分|"
        "星级|推荐度|推荐意愿",
        strict=False,
    ),
    Field(
        "text",
        Kind.TEXT,
        "comment|comments|feedback|review|review text|answer|complaint|verbatim|意见|评价|"
        "评论|反馈|反馈内容|评价内容|评论内容|"
        "投诉|投诉内容|留言|建议",
        "text|content|message|内容",
        strict=False,
    ),
    Field(
        "kind",
        Kind.TEXT,
        "signal kind|signal type|feedback type|反馈类型|信号类型",
        "kind|类型|类别",
        strict=False,
    ),
    Field(
        "name",
        Kind.TEXT,
        "question|topic|subject|survey|survey name|complaint type|题目|问题|主题|问卷|"
        "问卷名称|投诉类型|投诉原因|调查项目",
        "name|名称",
        strict=False,
    ),
    Field(
        "given_at",
        Kind.INSTANT,
        "given at|survey date|survey time|response date|responded at|submitted at|answered at|"
        "review date|review time|"
        "feedback date|complaint date|complaint time|评价时间|评价日期|反馈时间|反馈日期|"
        "投诉时间|投诉日期|提交时间|调查日期|调查时间|填写时间",
        "date|time|timestamp|created at|day|日期|时间|创建时间",
        required=True,
    ),
)
FIELDS: dict[str, tuple[Field, ...]] = {
    "customers": _CUSTOMERS,
    "products": _PRODUCTS,
    "order_lines": _ORDER_LINES,
    "events": _EVENTS,
    "consents": _CONSENTS,
    "signals": _SIGNALS,
}


@lru_cache(maxsize=10_000)
def fold_header(header: str) -> str:
    """A header without case, width, blanks, signs and traditional characters: '客戶 編號' → '客户编号'."""
    folded = re.sub(r"[\W_]+", "", _drop_type(unicodedata.normalize("NFKC", header)).casefold())
    return folded if folded.isascii() else simplify(folded)


def split_header(header: str) -> frozenset[str]:
    """The words of a header: 'itemDescription' → item, description."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _drop_type(unicodedata.normalize("NFKC", header)))
    return frozenset(word for word in re.split(r"[\W_]+", spaced.casefold()) if word)


def _drop_type(header: str) -> str:
    """Some tools write the type behind the name: 'user_id:token', 'amount:float'."""
    return re.sub(r":(token|float|int|integer|long|double|string|text|date|timestamp)(_seq)?$", "", header)


def score_header(field: Field, header: str) -> float:
    """How well ``header`` names ``field``: .95 usual, .8 weaker, .7 and .55 contained in it, else 0."""
    folded, words = fold_header(header), split_header(header)
    for names, whole, contained in ((field.names, 0.95, 0.7), (field.weaker, 0.8, 0.55)):
        found = [name for name in names.split("|") if name]
        if folded in {fold_header(name) for name in found}:
            return whole
        if any(_contains(name, folded, words) for name in found):
            return contained
    return 0.0


def knows_header(cells: list[str]) -> bool:
    """Whether any of ``cells`` is the usual name of some field."""
    return any(
        score_header(field, cell) >= 0.8 for fields in FIELDS.values() for field in fields for cell in cells
    )


def _contains(name: str, folded: str, words: frozenset[str]) -> bool:
    if name.isascii():
        # "id" stands in so many headers that it says nothing unless it is all of one.
        return name != "id" and set(name.split()) <= words
    return len(name) >= 2 and fold_header(name) in folded
