// What hand-made features are called: in English by the server's own words, in Chinese by this table.

import { current, t } from "./strings.js";

const ZH = {
  tenure_days: "首购至今天数", recency_days: "距上次购买天数", purchases: "购买次数", repeat_days: "复购天数", active_span_days: "首购到末购天数",
  first_day_tenure: "首购日至今整天数", last_day_span: "首购日到末购日整天数", gap_mean_days: "平均购买间隔", gap_median_days: "购买间隔中位数",
  gap_longest_days: "最长购买间隔", gap_last_days: "最近一次购买间隔", gap_variation: "购买间隔的变异系数", overdue: "沉默时长与平均间隔之比",
  overdue_share: "短于当前沉默的间隔占比", gap_last_ratio: "最近间隔与平均间隔之比", due: "更长间隔中按期回来的占比", purchase_rate: "购买频率",
  active_blocks: "有购买的三十天段占比", purchases_decayed: "购买次数（按时间衰减）", purchases_trend: "购买次数的变化", season: "去年同期购买次数",
  amount: "购买金额", amount_mean: "每次购买金额", amount_largest: "最大一次金额", amount_last: "最近一次金额", amount_variation: "金额的变异系数",
  amount_day_mean: "每个购买日的金额", amount_decayed: "购买金额（按时间衰减）", lines_mean: "每次商品行数", units_mean: "每次件数", price_mean: "平均单价",
  items: "不同商品数", rebought_share: "重复购买的商品行占比", category_entropy: "类别分散度", returns: "退货次数", returned_share: "退款金额占比",
  weekend_share: "周末购买占比", events_since: "上次购买后的其他动作", carts_since: "上次购买后的加购", silence_days: "距上次任何动作天数",
  views: "浏览次数", carts: "加购次数", steps: "步数", favourites: "收藏次数", removes: "移出次数", impressions: "展示次数", clicks: "点击次数",
  cart_share: "加购占比", since_start: "距第一步时长", last_gap: "最后两步间隔", gap_before: "再前两步间隔", mean_gap: "平均步间隔",
  longest_gap: "最长步间隔", since_cart: "距上次加购时长", steps_since_cart: "上次加购后的步数", categories: "不同类别数", repeated: "重复看过的步数",
  item_seen: "当前商品的步数", item_carted: "当前商品已加购", item_new: "当前商品首次出现", same_item_in_a_row: "连续停留在当前商品的步数",
  category_share: "同类别步数占比", open_carts: "仍在购物车的件数", price: "当前价格", mean_price: "平均价格", least_price: "最低价格",
  most_price: "最高价格", price_ratio: "当前价格与均价之比", carted_price: "加购金额", hour: "时刻（UTC）", hour_sine: "时刻（正弦）",
  hour_cosine: "时刻（余弦）", weekday: "星期几（UTC）",
};

/** Days stand at a name's end or before its last word (`purchases_30d`, `purchases_90d_trend`); steps as `cart_2_back`. */
function inChinese(name) {
  const back = /^(\w+)_(\d)_back$/.exec(name);
  if (back) return `倒数第 ${back[2]} 步是${t(`action.${back[1]}`, {}, back[1])}`;
  const days = /_(\d+)d/.exec(name);
  const base = ZH[days ? name.replace(days[0], "") : name];
  return base && days ? `${base}（${days[1]} 天）` : base;
}

const EVERYWHERE = ["all", "visit", "now", "last step"];

/** Of a contribution {feature, meaning, window}. */
export function featureName({ feature, meaning, window }) {
  if (current() === "zh") return inChinese(feature) || feature;
  return EVERYWHERE.includes(window) ? meaning : `${meaning}, ${window}`;
}
