"""What columns and event types are called, in many tools and languages. Names are compared by their letters alone."""

import re
import unicodedata

COLUMN_NAMES = {
    "event_time": """event_time event_timestamp timestamp datetime ts time event_ts created_at occurred_at
        date_time event_date date t_dat click_time server_time hit_time action_time visit_start_time logged_at
        unix_time epoch invoice_date order_date purchase_date transaction_date day timestamp_ms eventtime_ms
        zeitstempel zeitpunkt zeit datum bestelldatum uhrzeit horodatage date_heure date_commande heure
        fecha_hora fecha marca_de_tiempo hora 时间戳 事件时间 行为时间 操作时间 访问时间 下单时间 创建时间 时间
        日期""",
    "event_type": """event_type event_name event behavior_type behaviour_type behavior behaviour action_type
        action interaction_type interaction activity type kind ereignistyp ereignis aktionstyp aktion vorgang
        belegart art type_evenement evenement tipo_evento evento accion tipo 行为类型 事件类型 操作类型 行为
        事件 操作 动作 类型""",
    "user_id": """user_id user uid customer_id customer visitor_id visitor user_pseudo_id client_id member_id
        account_id full_visitor_id anonymous_id cookie_id cookie device_id person_id shopper_id household_key
        household userid_hash customer_no customer_number customer_code cust_id buyer_id buyer account_no
        account patient_id debitor kunden_id kundennummer kundennr kd_nr kunde nutzer_id nutzer benutzer_id
        benutzer besucher_id besucher reviewer_id customer_user_id distinct_id domain_userid email customer_email
        email_address e_mail user_email id_utilisateur utilisateur id_client client visiteur id_usuario usuario
        id_cliente cliente 用户id 用户编号 用户 客户id 客户 会员id 顾客id 买家id""",
    "session_id": """session_id session user_session ga_session_id visit_id visit sid invoice_no invoice_number
        invoice order_id order_number order_no increment_id basket_id basket receipt_id receipt_no receipt invoice_id
        ticket_id transaction_id sitzung besuch_id besuch bestellung bestellnummer bestellnr auftrag
        auftragsnummer auftragsnr rechnungsnummer rechnung bon bonnummer bonnr belegnummer belegnr beleg
        domain_sessionid idvisit id_session visite id_visite commande id_commande num_commande facture sesion
        id_sesion visita pedido
        id_pedido factura 会话id 会话 访问id 订单号 订单id 订单编号""",
    "item_id": """item_id item product_id product sku sku_id article_id article aid stock_code asin iid goods_id
        content_id movie_id item_sku product_code article_no article_number item_no item_number product_no
        lineitem_sku product_view_sku product_number part_no part_number
        material_number material_no material materialnummer materialnr matnr
        variant_id ean gtin upc isbn itemid produkt_id
        produkt produktnummer artikel_id artikelnummer artikelnr artikel pzn id_produit produit reference
        reference_produit ref_produit id_producto producto id_articulo articulo 商品id 商品编号 商品 产品id 产品
        物品id 货号""",
    "category": """category category_code category_id item_category product_category cat department
        product_group article_group item_group group kategorie warengruppe artikelgruppe produktgruppe categorie
        rayon categoria 商品类目id 商品类目 商品类别 类目id 类目 品类 分类""",
    "brand": """brand brand_name brand_id manufacturer marke hersteller marque marca 品牌 品牌id""",
    "item_name": """item_name product_name lineitem_name product_title item_title article_name goods_name title
        description
        product_description item_description stock_description produktname artikelname artikelbezeichnung
        produktbezeichnung bezeichnung artikeltitel titel beschreibung nom_produit nom_article libelle
        designation titre nombre_producto nombre_articulo titulo descripcion 商品名称 商品标题 商品名 产品名称
        物品名称 标题""",
    "price": """price unit_price item_price lineitem_price item_cost price_in_usd product_price preis stueckpreis
        stückpreis einzelpreis prix prix_unitaire precio precio_unitario 价格 单价""",
    "quantity": """quantity qty lineitem_quantity qty_ordered quantity_sold amount_of_items pieces pcs units
        units_sold menge anzahl
        stueckzahl stückzahl quantite cantidad 数量 购买数量""",
    "country": """country country_code country_name user_country customer_country geo_country land pays pais
        国家 国家代码""",
    "device": """device device_type device_category device_name user_device platform geraet geraetetyp appareil
        dispositivo 设备 设备类型 终端""",
    "campaign": """campaign utm_campaign campaign_name campaign_id kampagne campagne campana 营销活动""",
    "order": """event_index hit_number seq sequence sequence_number step step_number position event_number
        timeframe trans_time add_to_cart_order line_number order_in_session transaction_line reihenfolge
        position_in_session 序号""",
}
"""Canonical column: its names, the likelier before."""

TYPE_NAMES = {
    "view": """view pv view_content content_view page_view pageview view_item product_view item_view detail_view
        viewed_product product_viewed view_product detail clicks browse visit ansehen angesehen ansicht aufruf
        seitenaufruf produktansicht produkt vue vue_produit consultation consulter ver vista visto visualizar
        浏览 点击 查看 访问 浏览商品""",
    "cart": """cart carts add_to_cart add_cart added_to_cart product_added basket add_to_basket added_to_basket
        bag add_to_bag added_to_bag add_to_trolley atc cart_add warenkorb in_den_warenkorb panier ajout_panier
        ajouter_au_panier carrito agregar_al_carrito anadir_al_carrito 加购 加入购物车 加购物车 购物车""",
    "favourite": """favourite favorite fav wishlist add_to_wishlist like liked merkzettel gemerkt favori favoris
        favorito 收藏 喜欢 加收藏 collect""",
    "remove": """remove remove_from_cart remove_from_basket remove_from_bag removed_from_cart product_removed
        cart_remove entfernt aus_warenkorb retirer retrait_panier quitar eliminar 移除 删除 移出购物车 取消加购""",
    "purchase": """purchase purchased buy bought transaction order orders ordered order_completed order_placed
        ecommerce_order product_purchased sale sold checkout_completed kauf gekauft verkauf verkauft vente venta
        bestellung bestellt achat achete acheter commande compra comprado comprar pedido
        购买 下单 支付 成交 买 付款""",
    "cancel": """cancel order_cancelled order_refunded purchase_cancelled cancelled canceled refund refunded return
        returned credit_note storno storniert stornierung retoure gutschrift annulation remboursement retour
        cancelacion devolucion 取消订单 退款 退货""",
    "search": """search view_search_results searched query suche gesucht recherche busqueda buscar 搜索 搜索商品""",
    "impression": """impression impressions view_item_list view_promotion exposure shown einblendung affichage
        impresion 曝光 展示""",
    "click": """click select_item select_promotion select_content klick clic""",
}
"""Canonical type: its names."""

VISITS = (
    "session_id session user_session ga_session_id visit_id visit sid sitzung besuch_id besuch id_session visite "
    "id_visite sesion id_sesion visita 会话id 会话 访问id"
)
"""Of the names of a session, those of a visit; the others name an order: rows of it that have a price were bought."""

SALES = """order_date order_time purchase_date purchased_at purchase_time transaction_d transaction_time invoice_date
    sale_date sold_at bestelldatum kaufdatum rechnungsdatum date_commande date_achat fecha_compra fecha_pedido 下单时间
    支付时间 购买时间"""
"""Within the names of times, what speaks of a sale."""

ZONES = frozenset(("timezone", "tz", "utcoffset", "timezoneoffset", "gmtoffset", "zeitzone", "fuseauhoraire", "时区"))
"""What a column is called that says in which zone a time is, as `plain` writes it."""

ITEMS = frozenset(("items", "products", "lineitems", "articles", "produkte", "artikel", "positionen", "商品列表"))
"""What a list of an event's items is called, as `plain` writes it."""

CURRENCIES = frozenset(
    ("currency", "currencycode", "waehrung", "währung", "devise", "moneda", "divisa", "货币", "币种")
)
"""What a column is called that says in which currency a price is, as `plain` writes it."""

NOBODY = frozenset(
    ("anonymous", "nobody", "guest", "none", "n.a.", "?", "empty", "unknown", "unbekannt", "gast", "游客")
)
"""Words that are no id, however few they are."""
PLACEHOLDERS = frozenset(
    (
        "0",
        "-1",
        "00000000",
        "unknown",
        "anonymous",
        "guest",
        "gast",
        "unbekannt",
        "invite",
        "desconocido",
        "未知",
        "游客",
    )
)
"""Ids that are more likely nobody, or nothing, than somebody."""


def plain(name: str) -> str:
    """The letters and digits of a name, without case and accents."""
    spread = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in spread if letter.isalnum())


def _index(table: dict[str, str]) -> dict[str, tuple[str, int]]:
    index: dict[str, tuple[str, int]] = {}
    for canonical, names in table.items():
        for rank, name in enumerate(names.split()):
            index.setdefault(plain(name), (canonical, rank))
    return index


COLUMN_OF = _index(COLUMN_NAMES)
TYPE_OF = _index(TYPE_NAMES)


def column_named(name: str) -> tuple[str, int] | None:
    """The canonical column that a name means, and how far down the list it stands; the end of a path counts too."""
    return COLUMN_OF.get(plain(name)) or COLUMN_OF.get(plain(re.split(r"[.\[]", name)[-1]))


def order_named(name: str) -> bool:
    """Whether a column of sessions is called as orders, invoices and receipts are."""
    return plain(name.rpartition(".")[2]) not in map(plain, VISITS.split())


def time_of_sale(name: str) -> bool:
    """Whether a column of times is called as that of an order is."""
    letters = plain(name.rpartition(".")[2])
    return any(plain(each) in letters for each in SALES.split())


def type_named(value: str) -> str | None:
    """The canonical type that a value means."""
    entry = TYPE_OF.get(plain(value))
    return entry[0] if entry else None
